"""The commands about what a study has found: its trials shown, exported, repeated, refined; networks evaluated."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from ...names import EXPORT_FORMATS
from .options import (
    Detail,
    as_study_name,
    best_trial_option,
    data_root_option,
    detail_option,
    force_option,
    json_option,
    storage_option,
)
from .terminal import announce, make_console, print_line, watching

if TYPE_CHECKING:
    import optuna


@click.command()
@click.argument("study")
@storage_option
@json_option
def show(study: str, storage: str, as_json: bool) -> None:
    """Show the trials of STUDY as a table.

    Example: branchfold show digits
    """
    from .listings import trials_table, trials_values

    loaded = _load(study, storage)
    if as_json:
        click.echo(json.dumps(trials_values(loaded), indent=2))
    else:
        make_console().print(trials_table(loaded))


@click.command()
@click.argument("study")
@best_trial_option
@click.option("--format", "form", type=click.Choice(list(EXPORT_FORMATS)), default="safetensors", show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write (default: NAME-trial-N.safetensors or .pt)."
)
@force_option
@storage_option
@data_root_option
def export(
    study: str, trial: int | None, form: str, output: Path | None, force: bool, storage: str, data_root: str | None
) -> None:
    """Export the network that STUDY selected, or a given trial's, and measure it on the test split.

    Example: branchfold export digits --output digits.safetensors
    """
    from ...studies.database.storage import stored_definition
    from ..exports.places import sources_of
    from .handover import write_trial

    loaded = _load(study, storage)
    definition = stored_definition(loaded)
    if data_root is not None:
        definition = definition.with_data_root(data_root)
    sources = sources_of(definition, study)
    console = make_console()
    print_line(console, write_trial(loaded, definition, storage, trial, form, output, sources=sources, force=force))


@click.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), required=True, help="Number of the trial.")
@storage_option
@data_root_option
@detail_option
def rerun(study: str, trial: int, storage: str, data_root: str | None, detail: Detail) -> None:
    """Repeat a trial of STUDY with its recipe and seed, and say how close it comes.

    Example: branchfold rerun digits --trial 3
    """
    console = make_console()
    announce(console, as_study_name(study), detail)
    from ...studies.database.storage import open_storage
    from ...studies.database.trials import trial_of
    from ..run.repetition import repeat_trial
    from .outcome import rerun_lines

    loaded = _load(study, storage)
    trial_of(loaded, trial)
    with watching(console, detail, hint="stopped; the same command begins the trial again") as progress:
        progress.line(f"trial {trial} again, with its recipe and seed")
        again = repeat_trial(loaded, open_storage(storage, create=False), trial, data_root=data_root, notify=progress)
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
    from ..exports.places import check_output, sources_of
    from ..run.finalists import select
    from ..run.repetition import refine_trial
    from .handover import write_refined

    loaded = _load(study, storage)
    path, database = output or Path(f"{loaded.study_name}-refined.safetensors"), open_storage(storage, create=False)
    definition = stored_definition(loaded)
    check_output(path, url=storage, sources=sources_of(definition, study), force=force)
    number = select(loaded, database, definition).source.number if trial is None else trial
    length = {"epochs": epochs} if compute is None else {"compute": compute}
    with watching(console, detail, hint="stopped; the same command goes on from what is finished") as progress:
        refined, refinement = refine_trial(
            loaded, database, number, length=length, seeds=seeds, data_root=data_root, notify=progress
        )
    definition = stored_definition(refined)
    definition = definition if data_root is None else definition.with_data_root(data_root)
    print_line(console, write_refined(refined, refinement, definition, storage, path))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_root_option
@click.option("--factory", metavar="FACTORY", help="Your own factory, where the network was built by one.")
@json_option
def evaluate(file: Path, data_root: str | None, factory: str | None, as_json: bool) -> None:
    """Measure an exported network: test accuracy, MACs, parameters, latency.

    Example: branchfold evaluate digits.safetensors
    """
    from ...models.checkpoints import UntrustedFactoryError
    from ..exports.delivery import evaluate_file
    from .outcome import evaluation_lines

    try:
        description, evaluation = evaluate_file(file, data_root or "data", factory)
    except UntrustedFactoryError as error:
        option = f"--factory {shlex.quote(error.factory)}"
        raise StudyError(f"{file} was built by code of your own, which is not run unasked: name it, {option}") from None
    if as_json:
        click.echo(json.dumps({"data": description.data["name"], **evaluation.to_dict()}, indent=2))
    else:
        print_line(make_console(), evaluation_lines(description.data["name"], evaluation))


def _load(study: str, storage: str) -> optuna.Study:
    """A study that was given by its name or TOML file."""
    from ...studies.database.storage import load_study, open_storage

    return load_study(open_storage(storage, create=False), as_study_name(study))
