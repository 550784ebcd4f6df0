"""The command line. What takes long to import is imported by the command that needs it: `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import BranchfoldError, NetworkError, StudyError

if TYPE_CHECKING:
    import optuna
    from rich.console import Console

    from .progress import Progress

DEFAULT_STORAGE = "sqlite:///studies/branchfold.db"

storage_option = click.option(
    "--storage", default=DEFAULT_STORAGE, show_default=True, metavar="URL", help="SQLAlchemy URL of the study database."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a key, for example model.width=0.25.",
)
data_root_option = click.option(
    "--data-root", default=None, metavar="FOLDER", help="Folder of the data sets (default: the definition's, 'data')."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="branchfold", prog_name="branchfold")
def cli() -> None:
    """Search how to shrink a trained convolutional network: branches take over, and fold away.

    Example: branchfold run digits
    """


@cli.command()
@click.argument("study")
@click.option("--trials", type=click.IntRange(min=1), help="Finished trials that the study is to have in all.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that run trials.")
@storage_option
@data_root_option
@set_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="File for the best network (default: NAME.safetensors)."
)
def run(
    study: str,
    trials: int | None,
    workers: int,
    storage: str,
    data_root: str | None,
    overrides: tuple[str, ...],
    output: Path | None,
) -> None:
    """Create or resume STUDY, a built-in study's name or a TOML file, and export its best network.

    Example: branchfold run vgg16-cifar10 --data-root ../data --set model.width=0.25
    """
    from ..studies.definition import load_definition

    changes = list(overrides)
    if trials is not None:
        changes.append(f"study.trials={trials}")
    if data_root is not None:
        changes.append(f"data.root={json.dumps(data_root)}")
    definition = load_definition(study, changes)
    console = make_console()
    from .outcome import check_output, finish, output_file, resume_point
    from .progress import Progress
    from .runner import Interrupted
    from .workers import run_study

    check_output(output_file(definition, output))
    finished, best = resume_point(storage, definition)
    try:
        with Progress(console, definition.study.trials, finished, best) as progress:
            optuna_study = run_study(definition, storage, workers=workers, tell=progress)
    except Interrupted:
        finished, best = resume_point(storage, definition)
        print_line(
            console,
            f"stopped: {finished} of {definition.study.trials} trials are finished and kept; "
            f"the same command goes on from here",
        )
        sys.exit(130)
    print_line(console, finish(optuna_study, definition, storage, output))


@cli.command()
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


@cli.command()
@click.argument("model")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="An argument of the factory, e.g. width=0.25."
)
@click.option("--input", "input_shape", metavar="CxHxW", help="Shape of one example, e.g. 3x224x224.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights of the network (a full-width one).")
@click.option("--data", metavar="NAME", help="Data set to measure the groups' sensitivity on, e.g. cifar10.")
@data_root_option
@click.option(
    "--examples", type=click.IntRange(min=2), default=512, show_default=True, help="How many of its examples."
)
@json_option
def inspect(
    model: str,
    overrides: tuple[str, ...],
    input_shape: str | None,
    checkpoint: Path | None,
    data: str | None,
    data_root: str | None,
    examples: int,
    as_json: bool,
) -> None:
    """Show the channel groups of MODEL, what they cost, how sensitive they are, and which are fixed and why.

    MODEL is a reference network's name, torchvision:NAME, path/to/file.py:FACTORY or package.module:FACTORY.

    Example: branchfold inspect resnet20 --set width=0.5
    """
    from .listings import groups_table, inspection

    images = None
    if data is not None:
        from .data import first_images

        images = first_images(data, data_root or "data", examples)
    found = inspection(model, as_arguments(overrides), as_shape(input_shape), checkpoint=checkpoint, examples=images)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        make_console().print(groups_table(found))


@cli.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial (default: the best one).")
@click.option(
    "--format", "form", type=click.Choice(["safetensors", "state-dict"]), default="safetensors", show_default=True
)
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write (default: NAME-trial-N.safetensors or .pt)."
)
@storage_option
@data_root_option
def export(study: str, trial: int | None, form: str, output: Path | None, storage: str, data_root: str | None) -> None:
    """Export the network of STUDY's best trial, or of a given one, and measure it on the test split.

    Example: branchfold export digits --output digits.safetensors
    """
    from ..studies.database import stored_definition
    from .outcome import export

    loaded = _load(study, storage)
    definition = stored_definition(loaded)
    if data_root is not None:
        definition = definition.with_data_root(data_root)
    print_line(make_console(), export(loaded, definition, storage, trial, form, output))


@cli.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), required=True, help="Number of the trial.")
@storage_option
@data_root_option
def rerun(study: str, trial: int, storage: str, data_root: str | None) -> None:
    """Repeat a trial of STUDY with its recipe and seed, and say how close it comes.

    Example: branchfold rerun digits --trial 3
    """
    from ..studies.database import open_storage
    from .outcome import rerun_lines
    from .repetition import rerun

    loaded, console = _load(study, storage), make_console()
    with _watching(console) as progress:
        again = rerun(loaded, open_storage(storage, create=False), trial, data_root=data_root, tell=progress)
    print_line(console, rerun_lines(trial, again))


@cli.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial (default: the best one).")
@click.option("--epochs", type=click.IntRange(min=1), help="Length of the training.")
@click.option("--compute", type=click.FloatRange(min=0, min_open=True), help="Or: in epochs of the baseline's MACs.")
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="One run each (default: the trial's).")
@click.option("--output", type=click.Path(path_type=Path), help="File of the best (default: NAME-refined.safetensors).")
@storage_option
@data_root_option
def refine(
    study: str,
    trial: int | None,
    epochs: int | None,
    compute: float | None,
    seeds: tuple[int, ...],
    output: Path | None,
    storage: str,
    data_root: str | None,
) -> None:
    """Train a trial's recipe longer, once for each seed, and export the best network; kept as study STUDY-refined.

    Example: branchfold refine digits --trial 3 --epochs 60 --seed 1 --seed 2
    """
    if (epochs is None) == (compute is None):
        raise StudyError("give --epochs or --compute, and not both: how long the recipe is to train")
    from ..studies.database import open_storage, stored_definition
    from ..studies.trials import best_trial
    from .outcome import check_output, refined_lines
    from .repetition import refine

    loaded, console = _load(study, storage), make_console()
    path = output or Path(f"{loaded.study_name}-refined.safetensors")
    check_output(path)
    number = best_trial(loaded, stored_definition(loaded)).number if trial is None else trial
    length = {"epochs": epochs} if compute is None else {"compute": compute}
    with _watching(console) as progress:
        refined, found = refine(
            loaded,
            open_storage(storage, create=False),
            number,
            length=length,
            seeds=seeds,
            data_root=data_root,
            tell=progress,
        )
    definition = stored_definition(refined)
    definition = definition if data_root is None else definition.with_data_root(data_root)
    print_line(console, refined_lines(loaded, refined, found, number, definition, storage, path))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@data_root_option
@click.option("--factory", metavar="FACTORY", help="Your own factory, where the network was built by one.")
@json_option
def evaluate(file: Path, data_root: str | None, factory: str | None, as_json: bool) -> None:
    """Measure an exported network: test accuracy, MACs, parameters, latency.

    Example: branchfold evaluate digits.safetensors
    """
    from .delivery import evaluate_file
    from .outcome import evaluation_lines

    description, evaluation = evaluate_file(file, data_root or "data", factory)
    if as_json:
        click.echo(json.dumps({"data": description.data["name"], **evaluation.to_dict()}, indent=2))
    else:
        print_line(make_console(), evaluation_lines(description.data["name"], evaluation))


@cli.command()
@storage_option
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; the dashboard has no login."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
def dashboard(storage: str, host: str, port: int) -> None:
    """Open optuna-dashboard on the study database.

    Example: branchfold dashboard --port 8081
    """
    from ..studies.dashboard import serve

    serve(storage, host, port)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 2."""
    # Read when torch is imported: threads that spin while they wait make training many times slower as soon as other
    # processes want the same cores (839 against 30 ms a step of the digits' network, measured on two busy cores).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        cli()
    except BranchfoldError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


def make_console() -> Console:
    """Where results go: standard output, as wide as it needs where that is no terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    return console


def print_line(console: Console, text: str) -> None:
    """Prints text as it is: unbroken, without markup."""
    console.print(text, markup=False, soft_wrap=True)


@contextmanager
def _watching(console: Console) -> Iterator[Progress]:
    """Progress of trials that belong to no run; Ctrl-C ends them with one line."""
    from .progress import Progress
    from .runner import Interrupted
    from .workers import quiet_optuna, stopping_on_signals

    try:
        with quiet_optuna(), stopping_on_signals(), Progress(console, 1) as progress:
            yield progress
    except Interrupted:
        print_line(console, "stopped; the same command goes on from what is finished")
        sys.exit(130)


def _load(study: str, storage: str) -> optuna.Study:
    from ..studies.database import load_study, open_storage

    return load_study(open_storage(storage, create=False), study_name(study))


def study_name(study: str) -> str:
    """The name of a study that was given as such or by its TOML file."""
    if study.endswith(".toml"):
        from ..studies.definition import load_definition

        return load_definition(study).study.name
    return study


def as_arguments(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Factory arguments from `key=value` strings; values as in TOML, else text."""
    from ..studies.definition import parse_override

    for override in overrides:
        name, equals, _ = override.partition("=")
        if not equals or not name.strip().isidentifier():
            raise NetworkError(f"--set {override}: must be an argument of the factory and its value, e.g. width=0.25")
    return {path[-1]: value for path, value in (parse_override(f"model.{override}") for override in overrides)}


def as_shape(text: str | None) -> tuple[int, ...] | None:
    """(C, H, W) from "3x224x224"."""
    if text is None:
        return None
    sizes = text.lower().replace(",", "x").split("x")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise NetworkError(f"--input {text}: must be positive sizes joined by x, e.g. 3x224x224")
    return tuple(int(size) for size in sizes)
