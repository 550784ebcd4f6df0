"""What a run or an export ends with: the network as a file, and the lines that say what it is worth."""

import errno
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from ...errors import StudyError
from ...models.checkpoints import load_network, read_description
from ...models.networks.factories import resolve_factory
from ...studies.database.artifacts import artifact_store, load_baseline
from ...studies.database.storage import load_study, open_storage
from ...studies.database.trials import (
    best_trial,
    finished_trials,
    measurement_of,
    meets_budget,
    schedule_name,
    trial_of,
)
from ...studies.definition.reading import Definition
from ..exports.delivery import Evaluation, accuracy_on_test, export_trial
from ..exports.formats import format_of
from ..run.repetition import Again
from .progress import percent


def resume_point(url: str, definition: Definition) -> tuple[int, tuple[int, float, float] | None]:
    """How many trials a study has finished, and the best one's (trial, accuracy, share of the MACs) if there is one."""
    try:
        study = load_study(open_storage(url, create=False), definition.study.name)
    except StudyError:
        return 0, None
    finished = len(finished_trials(study))
    try:
        best = best_trial(study, definition)
    except StudyError:
        return finished, None
    return finished, (best.number, best.user_attrs["accuracy"], best.user_attrs["macs_share"])


def check_output(path: Path) -> None:
    """Refuses, before the work and not after it, a place where no file can be written.

    Raises:
        StudyError: if the folder cannot be created or written, or `path` is a folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
    except OSError as error:
        reason = f"{path.parent} is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise StudyError(f"cannot write {path}: {reason}; choose another --output") from error


def output_file(definition: Definition, output: Path | None) -> Path:
    """Where a run writes its best network: `output`, or a file of the study's name."""
    return output or Path(f"{definition.study.name}.safetensors")


def finish(study: optuna.Study, definition: Definition, url: str, output: Path | None) -> str:
    """Exports the best network of a finished run and describes it beside the baseline.

    Raises:
        StudyError: if no trial completed within the budget.
        BranchfoldError: if the network cannot be exported.
    """
    best = best_trial(study, definition)
    path = output_file(definition, output)
    evaluation = export_trial(study, definition, url, best, path)
    record, baseline = _baseline_on_test(study, definition, url)
    lines = [
        f"best trial {best.number} ({schedule_name(best)}): {percent(best.user_attrs['accuracy'])} "
        f"on {record['examples']} validation examples",
        *_front(study, definition),
        evaluation_lines(definition.data.name, evaluation),
        f"baseline: {percent(baseline)} on the same {evaluation.examples} test examples",
        f"exported {path}",
    ]
    return "\n".join(lines)


def export(
    study: optuna.Study, definition: Definition, url: str, number: int | None, form: str, output: Path | None
) -> str:
    """Exports one trial's network, the best one's by default, and describes it.

    Raises:
        StudyError: if there is no such finished trial.
        BranchfoldError: if the network cannot be exported.
    """
    trial = best_trial(study, definition) if number is None else trial_of(study, number)
    path = output or Path(f"{study.study_name}-trial-{trial.number}.{format_of(form).suffix}")
    check_output(path)
    evaluation = export_trial(study, definition, url, trial, path, form)
    return f"{evaluation_lines(definition.data.name, evaluation)}\nexported trial {trial.number} to {path}"


def rerun_lines(number: int, again: Again) -> str:
    """How close a repeated trial came."""
    lines = [
        f"trial {number} again: {percent(again.after[-1])} on the validation split, {percent(again.before[-1])} then",
        f"largest difference at any of {len(again.after)} reports: {100 * again.difference:.2f} points",
    ]
    changed = [
        f"{name} {again.versions_before.get(name, 'unknown')} then, {now} now"
        for name, now in again.versions_after.items()
        if again.versions_before.get(name) != now
    ]
    return "\n".join([*lines, *changed])


def refined_lines(
    study: optuna.Study,
    refined: optuna.Study,
    found: Sequence[FrozenTrial],
    number: int,
    definition: Definition,
    url: str,
    path: Path,
) -> str:
    """Exports the best of the refined trials and describes them beside the trial that they refine.

    Raises:
        BranchfoldError: if the network cannot be exported.
    """
    source = study.get_trials(deepcopy=False)[number].user_attrs
    was = percent(source["accuracy"]) if "accuracy" in source else "stopped early"
    lines = [f"trial {number} of {study.study_name}: {was} on the validation split"]
    lines += [
        f"refined, seed {trial.user_attrs['seed']}: {percent(trial.user_attrs['accuracy'])} "
        f"(trial {trial.number} of {refined.study_name})"
        for trial in found
    ]
    best = max(found, key=lambda trial: float(trial.user_attrs["accuracy"]))
    if best.user_attrs["accuracy"] < source.get("accuracy", 0.0):
        lines.append(f"none is better than it was: `branchfold export {study.study_name} --trial {number}` exports it")
    evaluation = export_trial(refined, definition, url, best, path)
    return "\n".join([*lines, evaluation_lines(definition.data.name, evaluation), f"exported {path}"])


def evaluation_lines(data: str, evaluation: Evaluation) -> str:
    """An evaluation as three lines."""
    seed = "" if evaluation.seed is None else f", seed {evaluation.seed}"
    return "\n".join(
        (
            f"accuracy: {percent(evaluation.accuracy)} on {data}'s {evaluation.split} split "
            f"({evaluation.examples} examples{seed})",
            f"MACs: {_of(evaluation.macs, evaluation.full_macs)}, "
            f"parameters: {_of(evaluation.parameters, evaluation.full_parameters)}",
            f"latency: {evaluation.milliseconds:.3f} ms for one example on one thread",
        )
    )


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({percent(part / whole)} of {whole:,})"


def _front(study: optuna.Study, definition: Definition) -> list[str]:
    if len(definition.study.objectives) == 1:
        return []
    measured = [(trial.number, measurement_of(trial)) for trial in study.best_trials]
    inside = [(number, found) for number, found in measured if found is not None and meets_budget(found, definition)]
    costs = [objective for objective in definition.study.objectives if objective != "accuracy"]
    inside.sort(key=lambda pair: -pair[1].accuracy)
    points = "; ".join(
        f"{number}: " + ", ".join(percent(x) for x in (m.accuracy, *(getattr(m, f"{cost}_share") for cost in costs)))
        for number, m in inside
    )
    return [f"Pareto front (trial: validation accuracy, {', '.join(costs)}): {points}"]


def _baseline_on_test(study: optuna.Study, definition: Definition, url: str) -> tuple[dict[str, Any], float]:
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / "baseline.safetensors"
        record = load_baseline(study, artifact_store(url), file)
        assert record is not None, "a finished study has a baseline"
        network = load_network(file, resolve_factory(definition.model.factory))
        return record, accuracy_on_test(network, read_description(file), definition.data.root)
