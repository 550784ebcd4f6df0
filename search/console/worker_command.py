"""The command that lends a process to a study that runs elsewhere."""

from __future__ import annotations

import click

from .options import Detail, data_root_option, detail_option, device_option, storage_option, timeout_option
from .terminal import announce, ending_on_signals, make_console, print_line


@click.command()
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
    from .options import as_study_name

    name = as_study_name(study)
    console = make_console()
    announce(console, name, detail)
    from ...studies.database.storage import load_study, open_storage, stored_definition
    from ...studies.database.trials import finished_trials
    from ..run.processes import join_study
    from .progress import Progress

    found = load_study(open_storage(storage, create=False), name)
    total = stored_definition(found).study.trials
    hint = f"stopped: what this worker ran goes on elsewhere; `branchfold worker {name}` joins again"
    with ending_on_signals(console, lambda: hint, at_once=hint), Progress(console, total, detail=detail) as progress:
        found = join_study(name, storage, data_root=data_root, device=device, notify=progress, timeout=timeout)
    print_line(
        console,
        f"study {name} has {len(finished_trials(found))} of {total} trials finished, and none for this worker; "
        f"`branchfold run {name}` trains the finalists and exports the best network",
    )
