"""What leaves a study: a trial's network as files, with its metric on the test split; each is proved first."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from ...errors import BranchfoldError, StudyError, one_line
from ...files import whole_file
from ...models.channels.groups import Analysis
from ...models.checkpoints import (
    NetworkDescription,
    digest_of,
    load_network,
    read_description,
    trusted_factory,
)
from ...models.examples import first_of
from ...models.networks.factories import Factory, resolve_factory
from ...studies.database.places.artifacts import BASELINE, fetch_network, record_export
from ...studies.database.places.store import artifact_store
from ...studies.database.places.whereabouts import reachable
from ...studies.database.retries import SEED
from ...studies.database.trials import RECIPE, finished_trials, history_of, with_metric
from ...studies.definition.reading import Definition
from ...studies.tables.recipes import recipe_sentences
from ..data.reopening import whereabouts
from ..run.repeating.runs import SOURCE
from ..trial.measurement import Judgement
from .card import ExportedFile, model_card
from .evaluation import (
    LATENCY_SECONDS,
    Evaluation,
    digest_of_file,
    evaluate,
    judged_on_test,
    write_full,
)
from .files.package import Content, Package, runs
from .formats import check_installed, format_of
from .held_out import HeldOut, Place
from .options import AS_IT_IS, Options
from .places import card_of
from .verification import Draft, verify


@dataclass(frozen=True)
class Delivery:
    """What an export came to.

    Attributes:
        evaluation: of the network, in torch.
        files: that were written.
        card: the model card beside them.
    """

    evaluation: Evaluation
    files: tuple[ExportedFile, ...]
    card: Path


@dataclass(frozen=True)
class _Source:
    """A network that is to be exported, and how its full one is built."""

    network: nn.Module
    description: NetworkDescription
    build: Factory
    factory: str


def export_trial(
    study: optuna.Study,
    definition: Definition,
    url: str,
    trial: FrozenTrial,
    paths: Mapping[str, Path],
    *,
    options: Options = AS_IT_IS,
    among: int | None = None,
) -> Delivery:
    """Writes a trial's network with its metric on the test split in one format or several; returns what it measured.

    Args:
        study: the study.
        definition: with the data root to use.
        url: of the study's database; its artifacts lie beside it.
        trial: a finished trial.
        paths: a name in `names.EXPORT_FORMATS` → where to, all in one folder; a file there is replaced.
        options: how graph formats hold the network.
        among: how many the trial was selected from; all finished ones of the study if not given.

    Raises:
        StudyError: if the trial kept no network, or a file cannot be written.
        NetworkError: if the network's file is damaged, or a format cannot hold it.
        VerificationError: if a file computes something else; none is written then.
        DataError: if the test split cannot be had.
    """
    source = _fetched(study, definition, url, trial)
    # Nothing is said of its spread: the metric of the best of many is too good.
    selected = {"selected_among": len(finished_trials(study)) if among is None else among}
    metrics = [
        {**entry, **selected} if entry.get("split") == "validation" else entry for entry in source.description.metrics
    ]
    origin = {**source.description.origin, **_told_of(study, trial)}
    data = {**source.description.data, **whereabouts(definition.data)}
    source = replace(source, description=replace(source.description, metrics=metrics, origin=origin, data=data))
    return _deliver(source, Place.of(definition), paths, options, study)


def export_file(
    path: Path,
    place: Place,
    factory: str | None,
    paths: Mapping[str, Path],
    *,
    options: Options = AS_IT_IS,
    study: optuna.Study | None = None,
) -> Delivery:
    """Writes the network of a safetensors file in other formats; arguments and errors as for `export_trial`.

    Args:
        path: of the file.
        place: of the data set.
        factory: the user's own factory, where the network is neither a reference network nor torchvision's.
        paths: format → where to.
        options: how graph formats hold the network.
        study: that keeps a record of the files; the file's own.
    """
    description = read_description(path)
    name = trusted_factory(description, factory, path)
    return _deliver(
        _Source(load_network(path, name), description, resolve_factory(name), name), place, paths, options, study
    )


def trial_on_test(study: optuna.Study, definition: Definition, url: str, trial: FrozenTrial) -> Judgement:
    """How a trial's network does on the test split; arguments and errors as for `export_trial`."""
    source = _fetched(study, definition, url, trial)
    return judged_on_test(source.network, source.description, Place.of(definition))


def _fetched(study: optuna.Study, definition: Definition, url: str, trial: FrozenTrial) -> _Source:
    factory = definition.model.factory
    build = resolve_factory(factory)
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        kept = fetch_network(study, trial, artifact_store(reachable(url)), Path(folder) / "network.safetensors")
        return _Source(load_network(kept, build), read_description(kept), build, factory)


def _told_of(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """What the study knows of the trial and its baseline, as far as a card tells it."""
    told: dict[str, Any] = {}
    if RECIPE in trial.user_attrs:
        history = history_of(trial)
        with suppress(KeyError):  # another version's
            compute = history[-1]["compute"] if history else None
            told["recipe"] = recipe_sentences(trial.user_attrs[RECIPE], compute)
    if SOURCE in trial.user_attrs:
        told["repeats"] = {"trial": trial.user_attrs[SOURCE], "seed": trial.user_attrs[SEED]}
    if BASELINE in study.user_attrs:
        baseline = with_metric(study.user_attrs[BASELINE])
        told["baseline"] = {key: baseline[key] for key in ("metric", "examples", "source")}
    return told


def _deliver(
    source: _Source, place: Place, paths: Mapping[str, Path], options: Options, study: optuna.Study | None
) -> Delivery:
    """All of an export: measured, written under temporary names, verified, recorded, and then put in place."""
    for form in paths:
        check_installed(form)
    network, description = source.network, source.description
    held = HeldOut.of(description, place, network)
    evaluation = evaluate(runs(network), Content(description, AS_IT_IS), "safetensors", source.build, held)
    if evaluation.split == "test":  # else there is none, and validation is told already
        tested = {"split": "test", "metric": evaluation.metric.name, "value": evaluation.value}
        tested |= {"examples": evaluation.examples, "seed": evaluation.seed}
        if evaluation.interval is not None:
            tested["interval"] = list(evaluation.interval)
        metrics = [entry for entry in description.metrics if entry.get("split") != "test"]
        description = replace(description, metrics=[*metrics, tested])
    description = replace(description, digest=digest_of(network, description))
    whole = source.build(**description.arguments).to(held.dtype).eval()
    full_widths = {group.name: group.width for group in Analysis.of(whole, first_of(held.examples()[1], 1)).groups}
    tensors = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    card = model_card(description, evaluation, full_widths, tensors)
    package = Package(network, description, *held.examples(), options, card)
    with _leaving_nothing([path.parent for path in paths.values()]), ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="branchfold-")))
        drafts = [_written(form, path, package, whole, held, temporary, stack) for form, path in paths.items()]
        found = verify(drafts, package, source.factory, seconds=LATENCY_SECONDS)
        files = tuple(
            ExportedFile(
                draft.form,
                draft.path,
                draft.draft.stat().st_size,
                verified,
                digest_of_file(draft.draft),
                options if format_of(draft.form).graph else AS_IT_IS,
            )
            for draft, verified in zip(drafts, found, strict=True)
        )
        beside = card_of(files[0].path)
        _draft(beside, stack).write_text(model_card(description, evaluation, full_widths, tensors, files), "utf-8")
        if study is not None:
            for file in files:
                record_export(study, file.digest, {"trial": description.origin.get("trial"), **file.to_dict()})
    return Delivery(evaluation, files, beside)


def _written(
    form: str, path: Path, package: Package, whole: nn.Module, held: HeldOut, temporary: Path, stack: ExitStack
) -> Draft:
    """Writes a file under a temporary name beside its own; of a graph format the full network as well, to be timed."""
    described = format_of(form)
    draft, full = _draft(path, stack), None
    try:
        described.write(package, draft)
        if described.graph:
            full = temporary / f"full.{described.suffix}"
            write_full(whole, package.description, package.options, described, held, full)
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror or one_line(error)}") from error
    except BranchfoldError as error:
        raise type(error)(str(error).replace(str(draft), str(path))) from error
    return Draft(form, path, draft, full)


@contextmanager
def _leaving_nothing(folders: Sequence[Path]) -> Iterator[None]:
    """Removes folders that were made for files that did not come to be.

    Raises:
        StudyError: if the file system refuses something at last, as when the files take their names.
    """
    missing = {parent for folder in folders for parent in (folder, *folder.parents) if not parent.exists()}
    try:
        yield
    except BaseException as error:
        for folder in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        if not isinstance(error, OSError):
            raise
        raise StudyError(
            f"cannot write {error.filename or 'the files'}: {error.strerror or one_line(error)}"
        ) from error


def _draft(path: Path, stack: ExitStack) -> Path:
    """A temporary name beside `path`, which the file has when the stack ends well.

    Raises:
        StudyError: if it cannot be written.
    """
    try:
        return stack.enter_context(whole_file(path))
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror or one_line(error)}") from error
