"""The commands that take networks away: exported to files of every format, and such files evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from ...names import EXPORT_FORMATS
from .early import check_checkpoint, check_own_code
from .options import (
    as_study,
    best_trial_option,
    data_option,
    data_root_option,
    force_option,
    json_option,
    storage_option,
)
from .terminal import make_console, print_line

if TYPE_CHECKING:
    from ..exports.options import Options


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
    from ..exports.formats import check_options, is_network_file
    from ..exports.options import Options

    options, own = Options(fuse, with_normalisation), {"factory": factory, "data": data, "task": task}
    check_options(forms, options)
    if is_network_file(Path(source)):
        if trial is not None or pareto:
            raise StudyError(f"{source} is one network: --trial and --pareto are for studies")
        done = _exported_file(Path(source), own, storage, data_root, forms, output, options=options, force=force)
    else:
        if pareto and trial is not None:
            raise StudyError("give --trial or --pareto, and not both")
        for option, value in own.items():
            if value is not None:
                raise StudyError(f"--{option} is for a file; a study knows its own")
        chosen = "front" if pareto else trial
        done = _exported_study(source, chosen, storage, data_root, forms, output, options=options, force=force)
    print_line(make_console(), done)


def _exported_file(
    file: Path,
    own: dict[str, str | None],
    storage: str,
    data_root: str | None,
    forms: tuple[str, ...],
    output: Path | None,
    *,
    options: Options,
    force: bool,
) -> str:
    from ..exports.places import check_outputs, places_for

    check_checkpoint(file)
    check_own_code(own)
    check_outputs(places_for(forms, output, file.stem).values(), url=storage, sources=(str(file),), force=force)
    from ..exports.held_out import Place
    from .handover import write_file
    from .own_code import naming_own_code

    place = Place(data_root, own["data"], own["task"])
    with naming_own_code("export", file, own):
        return write_file(file, place, own["factory"], storage, forms, output, options=options, force=force)


def _exported_study(
    study: str,
    chosen: int | str | None,
    storage: str,
    data_root: str | None,
    forms: tuple[str, ...],
    output: Path | None,
    *,
    options: Options,
    force: bool,
) -> str:
    """What was exported of a study: a trial by its number, its Pareto front for a word, or what it selected."""
    from ...studies.database.storage import stored_definition
    from ...studies.database.trials import trial_of
    from ..exports.places import check_outputs, places_for, sources_of

    loaded = as_study(study, storage)
    definition = stored_definition(loaded)
    definition = definition if data_root is None else definition.with_data_root(data_root)
    sources = sources_of(definition, study)
    if isinstance(chosen, int):
        trial_of(loaded, chosen)
    if output is not None and len(forms) == 1 and not isinstance(chosen, str):
        check_outputs(places_for(forms, output, "").values(), url=storage, sources=sources, force=force)
    from .handover import write_front, write_trial

    if isinstance(chosen, str):
        return write_front(loaded, definition, storage, forms, output, options=options, sources=sources, force=force)
    return write_trial(
        loaded, definition, storage, chosen, forms, output, options=options, sources=sources, force=force
    )


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
    own = {"factory": factory, "data": data, "task": task}
    check_checkpoint(file)
    check_own_code(own)
    from ..exports.evaluation import evaluate_file
    from ..exports.held_out import Place
    from .handover import is_known_export
    from .own_code import naming_own_code
    from .shown.outcome import evaluation_lines

    with naming_own_code("evaluate", file, own):
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
