"""What commands write: a study's selected network, one trial's, a refined one; each with the lines that describe it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ...models.checkpoints import NetworkDescription, load_network, read_description
from ...models.networks.factories import resolve_factory
from ...studies.dashboard.keeping import Keeper
from ...studies.database.companions import REFINED
from ...studies.database.findings.outcome import Judged, Outcome, record_outcome
from ...studies.database.places.addresses import shown_url
from ...studies.database.places.artifacts import BASELINE, NETWORK, is_recorded_export, load_baseline
from ...studies.database.places.store import artifact_store
from ...studies.database.places.whereabouts import reachable
from ...studies.database.retries import SEED
from ...studies.database.storage import load_study, open_storage
from ...studies.database.trials import RECIPE, finished_trials, metric_of, metric_value, trial_of
from ...studies.definition.reading import Definition
from ..exports.delivery import Delivery, export_file, export_trial, trial_on_test
from ..exports.evaluation import Evaluation, judged_on_test
from ..exports.formats import format_of
from ..exports.held_out import Place
from ..exports.options import AS_IT_IS, Options
from ..exports.places import check_outputs, places_for, run_output
from ..run.repeating.finalists import Selection, known_trial, select
from ..run.repeating.repetition import Refinement
from ..run.repeating.runs import LENGTH, SOURCE
from ..space.courses import course_of
from ..space.known import REFERENCE
from ..trial.measurement import Judgement
from .shown.numbers import with_interval
from .shown.outcome import (
    ending_lines,
    evaluation_lines,
    file_lines,
    front_lines,
    pareto_front,
    refined_lines,
    selection_lines,
)


def write_selected(study: optuna.Study, definition: Definition, url: str, output: Path | None) -> str:
    """Exports the network that a finished run selected; describes it beside the known recipe's and the baseline.

    Raises:
        StudyError: if no trial completed within the budget.
        BranchfoldError: if the network cannot be exported.
    """
    selection = select(study, open_storage(url, create=False), definition)
    path = run_output(definition, output)
    trials, examples = len(finished_trials(study)), study.user_attrs[BASELINE]["examples"]
    among = len(selection.finalists) or trials
    delivery = export_trial(selection.study, definition, url, selection.trial, {"safetensors": path}, among=among)
    beside = delivery.evaluation
    known, told = _known(study, selection, definition, url)
    baseline, full_size = _baseline_on_test(study, definition, url)
    outcome = Outcome(
        trial=selection.source.number,
        finished=trials,
        split=beside.split,
        examples=beside.examples,
        network=Judged(beside.value, None if beside.interval is None else (beside.interval.low, beside.interval.high)),
        baseline=_with_interval(baseline, beside),
        known=None if known is None else _with_interval(known, beside),
        macs=beside.macs,
        full_macs=beside.full_macs,
        parameters=beside.parameters,
        full_parameters=beside.full_parameters,
        latency=beside.latency.milliseconds,
        full_latency=beside.latency.full_milliseconds,
        latency_share=beside.latency.share,
        latency_quartiles=beside.latency.share_quartiles,
        latency_unsure=beside.latency.unsure,
        runtime=beside.runtime,
        file=path.name,
        size=delivery.files[0].size,
        full_size=full_size,
        runs=tuple(selection.finalists[0].values) if selection.finalists else (),
        among=among,
    )
    record_outcome(study, outcome)
    Keeper(study, course_of).finish()
    lines = [
        *selection_lines(selection, definition, trials, examples),
        *front_lines(study, definition),
        evaluation_lines(definition.data.name, beside),
        *([f"known recipe ({REFERENCE} at equal shares): {told or _told(known, beside)}"] if known or told else []),
        f"baseline: {_told(baseline, beside)}",
        f"exported {path}",
        *ending_lines(outcome, study.study_name, metric_of(study)),
    ]
    return "\n".join(lines)


def write_trial(
    study: optuna.Study,
    definition: Definition,
    url: str,
    number: int | None,
    forms: Sequence[str],
    output: Path | None,
    *,
    options: Options = AS_IT_IS,
    sources: tuple[str, ...] = (),
    force: bool = False,
) -> str:
    """Exports one trial's network, by default the one that the study selected, and describes it.

    Args:
        study: the study.
        definition: with the data root to use.
        url: of its database.
        number: of the trial.
        forms: names in `names.EXPORT_FORMATS`.
        output: where to; by default a file named after study and trial, of several formats a folder.
        options: how graph formats hold the network.
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
    paths = places_for(forms, output, _file_name(of, trial))
    check_outputs(paths.values(), url=url, sources=sources, force=force)
    delivery = export_trial(of, definition, url, trial, paths, options=options, among=among)
    lines += [evaluation_lines(definition.data.name, delivery.evaluation), *file_lines(delivery)]
    return "\n".join([*lines, f"exported {_trial_text(of, trial)} to {_listed(delivery)}"])


def write_front(
    study: optuna.Study,
    definition: Definition,
    url: str,
    forms: Sequence[str],
    output: Path | None,
    *,
    options: Options = AS_IT_IS,
    sources: tuple[str, ...] = (),
    force: bool = False,
) -> str:
    """Exports every network of the Pareto front into one folder; arguments and errors as for `write_trial`.

    Raises:
        StudyError: if the study has one objective, or no network on its front is within the budget.
    """
    name = study.study_name
    if len(definition.study.objectives) == 1:
        raise StudyError(f"study {name!r} has one objective and no Pareto front; leave --pareto out")
    if not (front := pareto_front(study, definition)):
        raise StudyError(f"study {name!r} has no finished trial within its budget yet; run `branchfold run {name}`")
    folder = output or Path(f"{name}-pareto")
    places: list[tuple[FrozenTrial, dict[str, Path]]] = []
    for trial, _ in front:
        file = f"{name}-trial-{trial.number}"
        places.append((trial, {form: folder / f"{file}.{format_of(form).suffix}" for form in forms}))
        check_outputs(places[-1][1].values(), url=url, sources=sources, force=force)
    lines = front_lines(study, definition)
    for trial, paths in places:
        delivery = export_trial(study, definition, url, trial, paths, options=options)
        lines += [f"trial {trial.number}:", evaluation_lines(definition.data.name, delivery.evaluation)]
        lines += [*file_lines(delivery), f"exported trial {trial.number} to {_listed(delivery)}"]
    return "\n".join(lines)


def write_file(
    file: Path,
    place: Place,
    factory: str | None,
    url: str,
    forms: Sequence[str],
    output: Path | None,
    *,
    options: Options = AS_IT_IS,
    force: bool = False,
) -> str:
    """Exports the network of a safetensors file in other formats, and describes it.

    Args:
        file: that branchfold wrote.
        place: of the data set.
        factory: the user's own, where the network was built by one.
        url: of the database that keeps what was exported, where the file's study is in it.
        forms: names in `names.EXPORT_FORMATS`.
        output: where to; by default beside the working directory's files, of several formats a folder.
        options: how graph formats hold the network.
        force: whether a file there is replaced that branchfold did not write.

    Raises:
        StudyError: if a file must not be written.
        BranchfoldError: if the network cannot be loaded or exported.
    """
    description = read_description(file)
    paths = places_for(forms, output, file.stem)
    check_outputs(paths.values(), url=url, sources=(str(file), *_source_of(factory)), force=force)
    study = _study_of(description, url)
    delivery = export_file(file, place, factory, paths, options=options, study=study)
    lines = [evaluation_lines(description.data["name"], delivery.evaluation), *file_lines(delivery)]
    if study is None and any(format_of(form).unpickles for form in forms):
        lines.append(f"no study in {shown_url(url)} keeps a record of it: `branchfold evaluate` will ask for --trust")
    return "\n".join([*lines, f"exported {file} to {_listed(delivery)}"])


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
    best = max(refinement.complete, key=lambda run: refinement.metric.quality(metric_value(run) or 0.0))
    delivery = export_trial(refined, definition, url, best, {"safetensors": path}, among=len(refinement.complete))
    return "\n".join([*lines, evaluation_lines(definition.data.name, delivery.evaluation), f"exported {path}"])


def is_known_export(url: str, digest: str) -> bool:
    """Whether a study of this database exported a file of this SHA-256; no where there is no database."""
    try:
        return is_recorded_export(open_storage(url, create=False), digest)
    except StudyError:
        return False


def _known(study: optuna.Study, selection: Selection, definition: Definition, url: str) -> tuple[Judgement | None, str]:
    """The known recipe on the test split, by its run of the lowest new seed or, without finalists, its trial.

    Where there is none, what is to be said instead; "" where it was not tried.
    """
    known = known_trial(study)
    if known is None:
        return None, ""
    if known.user_attrs[RECIPE] == selection.source.user_attrs[RECIPE]:
        return None, "it is what was selected"
    of, run = study, known
    for finalist in selection.finalists:
        if finalist.known and finalist.runs:
            of, run = selection.study, finalist.runs[0]
    if NETWORK not in run.user_attrs:
        return None, f"trial {run.number} of {of.study_name} was stopped early"
    return trial_on_test(of, definition, url, run), ""


def _with_interval(found: Judgement, beside: Evaluation) -> Judged:
    interval = beside.metric.interval(found.value, beside.examples, found.array)
    return Judged(found.value, None if interval is None else (interval.low, interval.high))


def _told(found: Judgement | None, beside: Evaluation) -> str:
    """What a network is worth on the examples that another one was evaluated on."""
    assert found is not None, "what is told was judged"
    judged = _with_interval(found, beside)
    where = f"on the same {beside.examples} {beside.split} examples"
    return f"{with_interval(beside.metric, judged.value, judged.interval)} {where}"


def _baseline_on_test(study: optuna.Study, definition: Definition, url: str) -> tuple[Judgement, int]:
    """The baseline on the test split, and the bytes of its file."""
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        record = load_baseline(study, artifact_store(reachable(url)), file)
        assert record is not None, "a finished study has a baseline"
        network = load_network(file, resolve_factory(definition.model.factory))
        return judged_on_test(network, read_description(file), Place.of(definition)), file.stat().st_size


def _file_name(study: optuna.Study, trial: FrozenTrial) -> str:
    """What a trial's file is called, without its suffix; a repeated run by the trial that it repeats."""
    if SOURCE not in trial.user_attrs:
        return f"{study.study_name}-trial-{trial.number}"
    length = "-".join(f"{key}-{value:g}" for key, value in trial.user_attrs[LENGTH].items())
    return f"{_repeated(study)}-trial-{trial.user_attrs[SOURCE]}-seed-{trial.user_attrs[SEED]}-{length}"


def _trial_text(study: optuna.Study, trial: FrozenTrial) -> str:
    """A trial for people; a repeated run by the trial that it repeats."""
    own = f"trial {trial.number}"
    if SOURCE not in trial.user_attrs:
        return own
    told = f"trial {trial.user_attrs[SOURCE]} of {_repeated(study)}, trained again on seed {trial.user_attrs[SEED]}"
    return f"{told} ({own} of {study.study_name}),"


def _repeated(refined: optuna.Study) -> str:
    return refined.study_name.removesuffix(f"-{REFINED}")


def _listed(delivery: Delivery) -> str:
    return ", ".join(str(file.path) for file in delivery.files)


def _source_of(factory: str | None) -> tuple[str, ...]:
    source = (factory or "").rpartition(":")[0]
    return (source,) if Path(source).is_file() else ()


def _study_of(description: NetworkDescription, url: str) -> optuna.Study | None:
    """The study that a file names, if this database has it."""
    try:
        return load_study(open_storage(url, create=False), str(description.origin.get("study")))
    except StudyError:
        return None
