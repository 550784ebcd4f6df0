"""What commands write: a study's selected network, one trial's, a refined one; each with the lines that describe it."""

import tempfile
from pathlib import Path

import optuna

from ...models.checkpoints import load_network, read_description
from ...models.networks.factories import resolve_factory
from ...studies.database.artifacts import BASELINE, NETWORK, artifact_store, load_baseline
from ...studies.database.storage import open_storage
from ...studies.database.trials import RECIPE, finished_trials, trial_of
from ...studies.definition.reading import Definition
from ..exports.delivery import accuracy_on_test, export_trial, trial_on_test
from ..exports.formats import format_of
from ..exports.places import check_output
from ..run.finalists import Selection, known_trial, select
from ..run.repetition import Refinement
from ..space.known import REFERENCE
from .numbers import with_interval
from .outcome import evaluation_lines, front_lines, output_file, refined_lines, selection_lines


def write_selected(study: optuna.Study, definition: Definition, url: str, output: Path | None) -> str:
    """Exports the network that a finished run selected; describes it beside the known recipe's and the baseline.

    Raises:
        StudyError: if no trial completed within the budget.
        BranchfoldError: if the network cannot be exported.
    """
    selection = select(study, open_storage(url, create=False), definition)
    path = output_file(definition, output)
    trials, examples = len(finished_trials(study)), study.user_attrs[BASELINE]["examples"]
    among = len(selection.finalists) or trials
    evaluation = export_trial(selection.study, definition, url, selection.trial, path, among=among)
    lines = [
        *selection_lines(selection, definition, trials, examples),
        *front_lines(study, definition),
        evaluation_lines(definition.data.name, evaluation),
        *_known_line(study, selection, definition, url, evaluation.examples),
        f"baseline: {with_interval(_baseline_on_test(study, definition, url), evaluation.examples)} "
        f"on the same {evaluation.examples} test examples",
        f"exported {path}",
    ]
    return "\n".join(lines)


def write_trial(
    study: optuna.Study,
    definition: Definition,
    url: str,
    number: int | None,
    form: str,
    output: Path | None,
    *,
    sources: tuple[str, ...] = (),
    force: bool = False,
) -> str:
    """Exports one trial's network, by default the one that the study selected, and describes it.

    Args:
        study: the study.
        definition: with the data root to use.
        url: of its database.
        number: of the trial.
        form: a name in `names.EXPORT_FORMATS`.
        output: where to; by default a file named after study and trial.
        sources: files that are never overwritten.
        force: whether a file there is replaced that branchfold did not write.

    Raises:
        StudyError: if there is no such finished trial, or the file must not be written.
        BranchfoldError: if the network cannot be exported.
    """
    lines, among = [], None
    if number is None:
        selection = select(study, open_storage(url, create=False), definition)
        of, trial = selection.study, selection.trial
        among = len(selection.finalists) or None
        trials, examples = len(finished_trials(study)), study.user_attrs[BASELINE]["examples"]
        lines += selection_lines(selection, definition, trials, examples)
    else:
        of, trial = study, trial_of(study, number)
    path = output or Path(f"{of.study_name}-trial-{trial.number}.{format_of(form).suffix}")
    check_output(path, url=url, sources=sources, force=force)
    evaluation = export_trial(of, definition, url, trial, path, form, among=among)
    lines.append(evaluation_lines(definition.data.name, evaluation))
    where = "" if of is study else f" of {of.study_name}"
    return "\n".join([*lines, f"exported trial {trial.number}{where} to {path}"])


def write_refined(refined: optuna.Study, refinement: Refinement, definition: Definition, url: str, path: Path) -> str:
    """Exports the best refined run if their mean is better than the trial they refine; describes them in either case.

    Raises:
        BranchfoldError: if the network cannot be exported.
    """
    lines = refined_lines(refinement)
    source = refinement.source
    if not refinement.is_better:
        return "\n".join(
            [
                *lines,
                f"not better than it was: nothing is written; "
                f"`branchfold export {refinement.study} --trial {source.number}` exports trial {source.number}",
            ]
        )
    best = max(refinement.complete, key=lambda run: float(run.user_attrs["accuracy"]))
    evaluation = export_trial(refined, definition, url, best, path, among=len(refinement.complete))
    return "\n".join([*lines, evaluation_lines(definition.data.name, evaluation), f"exported {path}"])


def _known_line(
    study: optuna.Study, selection: Selection, definition: Definition, url: str, examples: int
) -> list[str]:
    """The known recipe on the test split: its run of the lowest new seed or, without finalists, its trial."""
    known = known_trial(study)
    if known is None:
        return []
    name = f"known recipe ({REFERENCE} at equal shares)"
    if known.user_attrs[RECIPE] == selection.source.user_attrs[RECIPE]:
        return [f"{name}: it is what was selected"]
    of, run = study, known
    for finalist in selection.finalists:
        if finalist.known and finalist.runs:
            of, run = selection.study, finalist.runs[0]
    if NETWORK not in run.user_attrs:
        return [f"{name}: trial {run.number} of {of.study_name} was stopped early"]
    accuracy = trial_on_test(of, definition, url, run)
    return [f"{name}: {with_interval(accuracy, examples)} on the same {examples} test examples"]


def _baseline_on_test(study: optuna.Study, definition: Definition, url: str) -> float:
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        record = load_baseline(study, artifact_store(url), file)
        assert record is not None, "a finished study has a baseline"
        network = load_network(file, resolve_factory(definition.model.factory))
        return accuracy_on_test(network, read_description(file), definition.data.root)
