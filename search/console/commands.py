"""The command line. What takes long to import is imported by the command that needs it: `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from ...errors import BranchfoldError, VerificationError
from ..cluster.options import as_cluster, ray_options
from .early import check_data_set, check_files, check_network
from .init_command import init
from .options import (
    Detail,
    WorkersType,
    as_arguments,
    as_definition,
    as_shape,
    as_study_name,
    data_root_option,
    detail_option,
    device_option,
    force_option,
    json_option,
    set_option,
    storage_option,
    timeout_option,
)
from .seeing_commands import compare, report, show
from .study_commands import copy_storage, delete, gc, list_studies
from .taking_commands import evaluate, export
from .terminal import announce, can_draw, ending_on_signals, make_console, print_line
from .trial_commands import refine, rerun


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="branchfold", prog_name="branchfold")
def cli() -> None:
    """Search how to shrink a trained convolutional network: branches take over, and fold away.

    Example: branchfold run digits
    """


@cli.command()
@click.argument("study")
@click.option("--trials", type=click.IntRange(min=1), help="Finished trials that the study is to have in all.")
@click.option(
    "--workers",
    type=WorkersType(),
    default="auto",
    show_default=True,
    help="Processes that run trials; auto is one a GPU, or for every two of more than four cores.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    metavar="N",
    help="End when N trials in a row were no better than the best.",
)
@timeout_option
@ray_options
@storage_option
@data_root_option
@device_option
@set_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="File for the best network (default: NAME.safetensors)."
)
@detail_option
@force_option
def run(
    study: str,
    trials: int | None,
    workers: int | None,
    patience: int | None,
    timeout: float | None,
    ray: str | None,
    worker_cpus: int,
    worker_gpus: float,
    storage: str,
    data_root: str | None,
    device: str | None,
    overrides: tuple[str, ...],
    output: Path | None,
    detail: Detail,
    force: bool,
) -> None:
    """Create or resume STUDY, a built-in study's name or a TOML file, and export its best network.

    Example: branchfold run vgg16-cifar10 --data-root ../data --set model.width=0.25
    """
    definition = as_definition(study, overrides, trials, data_root, device)
    console = make_console()
    announce(console, definition.study.name, detail)
    from ...studies.database.places.addresses import is_there
    from ..exports.places import check_outputs, run_output, sources_of

    check_files(definition, is_new=not is_there(storage))
    check_outputs([run_output(definition, output)], url=storage, sources=sources_of(definition, study), force=force)
    from ..run.processes import run_study
    from .handover import write_selected
    from .shown.progress import Progress
    from .shown.standing import standing_in

    standing = standing_in(storage, definition, lambda line: print_line(console, line))
    total, goes_on = definition.study.trials, "the same command goes on from here"

    def hint() -> str:
        finished = standing_in(storage, definition).finished
        return f"stopped: {finished} of {total} trials are finished and kept; {goes_on}"

    finalists = definition.search.finalists > 1 and len(definition.study.objectives) == 1
    at_once = f"stopped: finished trials are kept; {goes_on}"
    with (
        as_cluster(ray, worker_cpus, worker_gpus, storage) as cluster,
        ending_on_signals(console, hint, at_once=at_once),
        Progress(console, total, standing, detail, finalists=finalists) as progress,
    ):
        optuna_study = run_study(
            definition,
            storage,
            workers=workers,
            notify=progress,
            timeout=timeout,
            patience=patience,
            cluster=cluster,
        )
    print_line(console, write_selected(optuna_study, definition, storage, output))


@cli.command()
@click.argument("study")
@storage_option
@data_root_option
@device_option
@timeout_option
@detail_option
def worker(
    study: str, storage: str, data_root: str | None, device: str | None, timeout: float | None, detail: Detail
) -> None:
    """Join STUDY, which `branchfold run` began, as one more worker: from another shell, or another machine.

    It needs the study's database and the folders beside it, and the data.

    Example: branchfold worker digits
    """
    name = as_study_name(study)
    console = make_console()
    announce(console, name, detail)
    from ...studies.database.rungs import finished_count
    from ...studies.database.storage import load_study, open_storage, stored_definition
    from ..run.processes import join_study
    from .shown.progress import Progress
    from .shown.standing import standing_of

    found = load_study(open_storage(storage, create=False), name)
    definition = stored_definition(found)
    total, standing = definition.study.trials, standing_of(found, definition)
    hint = f"stopped: what this worker ran goes on elsewhere; `branchfold worker {name}` joins again"
    with (
        ending_on_signals(console, lambda: hint, at_once=hint),
        Progress(console, total, standing, detail) as progress,
    ):
        found = join_study(name, storage, data_root=data_root, device=device, notify=progress, timeout=timeout)
    print_line(
        console,
        f"study {name} has {finished_count(found)} of {total} trials finished, and none for this worker; "
        f"`branchfold run {name}` trains the finalists and exports the best network",
    )


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
    arguments, shape = as_arguments(overrides), as_shape(input_shape)
    check_network(model, checkpoint)
    if data is not None:
        check_data_set(data)
    from .shown.inspection import groups_table, inspection

    images = None
    if data is not None:
        from ..data.splits import first_images

        images = first_images(data, data_root or "data", examples)
    found = inspection(model, arguments, shape, checkpoint=checkpoint, examples=images)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        console = make_console()
        console.print(groups_table(found, width=console.width, blocks=can_draw(console)))


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
    from ...studies.dashboard.serving import serve

    serve(storage, host, port)


for command in (
    init,
    show,
    report,
    compare,
    export,
    rerun,
    refine,
    evaluate,
    list_studies,
    delete,
    gc,
    copy_storage,
):
    cli.add_command(command)


def main() -> None:
    """Runs the command line; an error that the user can mend is one line and exit status 2, a failed check 1."""
    # Read when torch is imported: threads that spin while they wait make training many times slower as soon as other
    # processes want the same cores (839 against 30 ms a step of the digits' network, measured on two busy cores).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        cli(standalone_mode=False)
    except (BranchfoldError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else error
        click.echo(f"error: {message}", err=True)
        sys.exit(1 if isinstance(error, VerificationError) else 2)
    except (click.Abort, KeyboardInterrupt):  # before or after what winds up by itself
        click.echo("stopped")
        sys.exit(130)
