"""The commands about what a study has found: its trials exported, repeated, refined; networks evaluated."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from ...names import EXPORT_FORMATS
from .options import (
    Detail,
    as_study_name,
    best_trial_option,
    data_option,
    data_root_option,
    detail_option,
    device_option,
    force_option,
    json_option,
    storage_option,
)
from .terminal import announce, make_console, print_line, watching

if TYPE_CHECKING:
    import optuna

# What options name the code of.
_MEANS = {"factory": "network", "data": "data", "task": "task"}


@click.command()
@click.argument("source", metavar="STUDY-OR-FILE")
@best_trial_option
@click.option("--pareto", is_flag=True, help="Every network of a study's Pareto front, into a folder.")
@click.option(
    "--format",
    "forms",
    type=click.Choice(list(EXPORT_FORMATS)),
    multiple=True,
    default=["safetensors"],
    show_default=True,
    help="Several may be given.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="File to write, or folder of several formats (default: named after study and trial).",
)
@click.option("--fuse", is_flag=True, help="Fold BatchNorms into the layers before them (pt2, onnx).")
@click.option("--with-normalisation", is_flag=True, help="Take images as uint8 and normalise them inside (pt2, onnx).")
@click.option("--factory", metavar="FACTORY", help="Your own factory, where FILE's network was built by one.")
@click.option("--task", metavar="TASK", help="Your own task, where FILE's network is for one.")
@data_option
@force_option
@storage_option
@data_root_option
def export(
    source: str,
    trial: int | None,
    pareto: bool,
    forms: tuple[str, ...],
    output: Path | None,
    fuse: bool,
    with_normalisation: bool,
    factory: str | None,
    task: str | None,
    data: str | None,
    force: bool,
    storage: str,
    data_root: str | None,
) -> None:
    """Export the network that a study selected, a given trial's or a file's, each file proved, with a model card.

    Example: branchfold export digits --format safetensors --format onnx --output digits-files
    """
    from ...studies.database.storage import stored_definition
    from ..exports.evaluation import Place
    from ..exports.formats import check_options
    from ..exports.package import Options
    from ..exports.places import sources_of
    from .handover import write_file, write_front, write_trial

    options = Options(fuse, with_normalisation)
    check_options(forms, options)
    console = make_console()
    if _is_file(source):
        if trial is not None or pareto:
            raise StudyError(f"{source} is one network: --trial and --pareto are for studies")
        with _naming_own_code("export", Path(source), {"factory": factory, "data": data, "task": task}):
            done = write_file(
                Path(source),
                Place(data_root, data, task),
                factory,
                storage,
                forms,
                output,
                options=options,
                force=force,
            )
        print_line(console, done)
        return
    if pareto and trial is not None:
        raise StudyError("give --trial or --pareto, and not both")
    for option, value in (("--factory", factory), ("--data", data), ("--task", task)):
        if value is not None:
            raise StudyError(f"{option} is for a file; a study knows its own")
    loaded = _load(source, storage)
    definition = stored_definition(loaded)
    if data_root is not None:
        definition = definition.with_data_root(data_root)
    sources = sources_of(definition, source)
    if pareto:
        done = write_front(loaded, definition, storage, forms, output, options=options, sources=sources, force=force)
    else:
        done = write_trial(
            loaded, definition, storage, trial, forms, output, options=options, sources=sources, force=force
        )
    print_line(console, done)


@click.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), required=True, help="Number of the trial.")
@storage_option
@data_root_option
@device_option
@detail_option
def rerun(study: str, trial: int, storage: str, data_root: str | None, device: str | None, detail: Detail) -> None:
    """Repeat a trial of STUDY with its recipe and seed, and say how close it comes.

    Example: branchfold rerun digits --trial 3
    """
    console = make_console()
    announce(console, as_study_name(study), detail)
    from ...studies.database.storage import open_storage, stored_definition
    from ...studies.database.trials import trial_of
    from ..run.repetition import repeat_trial
    from .outcome import rerun_lines

    loaded = _load(study, storage)
    trial_of(loaded, trial)
    with watching(
        console,
        detail,
        hint="stopped; the same command begins the trial again",
        device=device or stored_definition(loaded).trial.device,
    ) as progress:
        progress.line(f"trial {trial} again, with its recipe and seed")
        again = repeat_trial(
            loaded, open_storage(storage, create=False), trial, data_root=data_root, device=device, notify=progress
        )
    print_line(console, rerun_lines(trial, again))


@click.command()
@click.argument("study")
@best_trial_option
@click.option("--epochs", type=click.IntRange(min=1), help="Length of the training.")
@click.option("--compute", type=click.FloatRange(min=0, min_open=True), help="Or: in epochs of the baseline's MACs.")
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="One run each (default: the trial's).")
@click.option("--output", type=click.Path(path_type=Path), help="File of the best (default: NAME-refined.safetensors).")
@force_option
@storage_option
@data_root_option
@device_option
@detail_option
def refine(
    study: str,
    trial: int | None,
    epochs: int | None,
    compute: float | None,
    seeds: tuple[int, ...],
    output: Path | None,
    force: bool,
    storage: str,
    data_root: str | None,
    device: str | None,
    detail: Detail,
) -> None:
    """Train a trial's recipe longer, once for each seed, and export the best network if that was worth it.

    The runs are kept as study STUDY-refined. Nothing is written if their mean is not better than the trial was.

    Example: branchfold refine digits --trial 3 --epochs 60 --seed 1 --seed 2
    """
    if (epochs is None) == (compute is None):
        raise StudyError("give --epochs or --compute, and not both: how long the recipe is to train")
    console = make_console()
    announce(console, as_study_name(study), detail)
    from ...studies.database.storage import open_storage, stored_definition
    from ..exports.places import check_outputs, sources_of
    from ..run.finalists import select
    from ..run.repetition import refine_trial
    from .handover import write_refined

    loaded = _load(study, storage)
    path, database = output or Path(f"{loaded.study_name}-refined.safetensors"), open_storage(storage, create=False)
    definition = stored_definition(loaded)
    check_outputs([path], url=storage, sources=sources_of(definition, study), force=force)
    number = select(loaded, database, definition).source.number if trial is None else trial
    length = {"epochs": epochs} if compute is None else {"compute": compute}
    with watching(
        console,
        detail,
        hint="stopped; the same command goes on from what is finished",
        device=device or definition.trial.device,
    ) as progress:
        refined, refinement = refine_trial(
            loaded, database, number, length=length, seeds=seeds, data_root=data_root, device=device, notify=progress
        )
    definition = stored_definition(refined)
    definition = definition if data_root is None else definition.with_data_root(data_root)
    print_line(console, write_refined(refined, refinement, definition, storage, path))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_root_option
@click.option("--factory", metavar="FACTORY", help="Your own factory, where the network was built by one.")
@click.option("--task", metavar="TASK", help="Your own task, where the network is for one.")
@data_option
@click.option("--trust", is_flag=True, help="Load a pt2 file, which may run code, that no study here exported.")
@storage_option
@json_option
def evaluate(
    file: Path,
    data_root: str | None,
    factory: str | None,
    task: str | None,
    data: str | None,
    trust: bool,
    storage: str,
    as_json: bool,
) -> None:
    """Measure an exported network of any format: its metric on the test split, MACs, parameters, latency.

    Example: branchfold evaluate digits.safetensors
    """
    from ..exports.evaluation import Place, evaluate_file
    from .handover import is_known_export
    from .outcome import evaluation_lines

    with _naming_own_code("evaluate", file, {"factory": factory, "data": data, "task": task}):
        description, evaluation = evaluate_file(
            file,
            Place(data_root, data, task),
            factory,
            known=lambda digest: is_known_export(storage, digest),
            trust=trust,
        )
    if as_json:
        click.echo(json.dumps({"data": description.data["name"], **evaluation.to_dict()}, indent=2))
    else:
        print_line(make_console(), evaluation_lines(description.data["name"], evaluation))


def _is_file(source: str) -> bool:
    """Whether an argument means a file with a network, not a study: by its suffix, or since it is one."""
    from ..exports.formats import FORMATS, is_export

    path = Path(source)
    return any(path.suffix == f".{form.suffix}" for form in FORMATS.values()) or (path.is_file() and is_export(path))


@contextmanager
def _naming_own_code(command: str, file: Path, given: dict[str, str | None]) -> Iterator[None]:
    """Tells in one command what code of the user's own a file needs beside what was given, by option."""
    from ...models.checkpoints import UntrustedFactoryError
    from ..data.opening import UntrustedDataError
    from ..exports.evaluation import PLACE, UntrustedTaskError, own_code_of, tell_of

    try:
        yield
    except (UntrustedDataError, UntrustedFactoryError, UntrustedTaskError):
        needed = own_code_of(tell_of(file).description)
        missing = [option for option in needed if given[option] is None]
        words = ["branchfold", command, str(file)]
        for option, name in needed.items():
            words += [f"--{option}", given[option] or name]
        objects = [option for option in missing if needed[option].startswith(PLACE)]
        sources = [
            (_listed(objects), "came as an object from the program that made the file"),
            (_listed(x for x in missing if x not in objects), "made by code of your own, which is not run unasked"),
        ]
        told = ", ".join(f"{what} {how}" for what, how in sources if what)
        raise StudyError(f"{file}: {told}: name it, {shlex.join(words)}") from None


def _listed(options: Iterable[str]) -> str:
    return " and ".join(f"its {_MEANS[option]}" for option in options)


def _load(study: str, storage: str) -> optuna.Study:
    """A study that was given by its name or TOML file."""
    from ...studies.database.storage import load_study, open_storage

    return load_study(open_storage(storage, create=False), as_study_name(study))
