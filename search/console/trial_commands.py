"""The commands about a study's trials: repeated, refined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from .options import (
    Detail,
    as_study,
    as_study_name,
    best_trial_option,
    data_root_option,
    detail_option,
    device_option,
    force_option,
    storage_option,
)
from .terminal import announce, ending_on_signals, make_console, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from .shown.progress import Progress


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

    loaded = as_study(study, storage)
    trial_of(loaded, trial)
    from ..run.repetition import repeat_trial
    from .shown.outcome import rerun_lines

    with _watching(
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
    from ...studies.database.trials import trial_of
    from ..exports.places import check_outputs, sources_of

    loaded = as_study(study, storage)
    path, database = output or Path(f"{loaded.study_name}-refined.safetensors"), open_storage(storage, create=False)
    definition = stored_definition(loaded)
    check_outputs([path], url=storage, sources=sources_of(definition, study), force=force)
    if trial is not None:
        trial_of(loaded, trial)
    from ..run.finalists import select
    from ..run.repetition import refine_trial
    from .handover import write_refined

    number = select(loaded, database, definition).source.number if trial is None else trial
    length = {"epochs": epochs} if compute is None else {"compute": compute}
    with _watching(
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


@contextmanager
def _watching(console: Console, detail: Detail, *, hint: str, device: str) -> Iterator[Progress]:
    """Progress of trials that belong to no run, on a device; a signal ends them with one line, the hint.

    Raises:
        StudyError: if the device is not there.
    """
    from ..process.quiet import quiet_optuna
    from ..process.signals import stopping_on_signals
    from ..training.device import check_device, device_line
    from .shown.progress import Progress

    check_device(device)
    with (
        ending_on_signals(console, lambda: hint, at_once=hint),
        quiet_optuna(),
        stopping_on_signals(),
        Progress(console, None, detail=detail) as progress,
    ):
        progress.line(device_line(name=device))
        yield progress
