"""The commands about a storage as a whole: its studies and trials listed and deleted, its files cleared, all copied."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from .options import as_study_name, json_option, storage_option
from .terminal import make_console, print_line

if TYPE_CHECKING:
    from pathlib import Path

    import optuna
    from rich.table import Table

    from ...studies.database.tables.storage import StudyStorage
    from ...studies.database.upkeep.overview import StudyRow, TrialFile


# States that a word alone does not tell.
_STATES = {
    "beginning": "its baseline is being made",
    "companion": "left of a deleted study",
    "foreign": "not a study of this version of branchfold",
}


@click.command("list")
@click.argument("study", required=False, metavar="[STUDY]")
@storage_option
@json_option
def list_studies(study: str | None, storage: str, as_json: bool) -> None:
    """List the studies of a storage: how far each is, and the best of its trials; of STUDY its trials and their files.

    Example: branchfold list
    """
    from ...studies.database.places.addresses import shown_url
    from ...studies.database.storage import load_study, open_storage
    from ...studies.database.upkeep.overview import study_rows, trial_files

    opened = open_storage(storage, create=False)
    if study is not None:
        files = trial_files(opened, load_study(opened, as_study_name(study)))
        if as_json:
            click.echo(json.dumps([{**row._asdict(), "metric": row.metric.name} for row in files], indent=2))
        else:
            from ...studies.database.places.store import artifact_folder

            make_console().print(_files_table(files, as_study_name(study), artifact_folder(opened.url)))
        return
    rows = study_rows(opened)
    if as_json:
        values = [
            {**row._asdict(), "metric": row.metric.name, "companions": [each._asdict() for each in row.companions]}
            for row in rows
        ]
        click.echo(json.dumps(values, indent=2))
    elif rows:
        make_console().print(_table(rows, shown_url(storage)))
    else:
        print_line(make_console(), f"no study in {shown_url(storage)} yet; `branchfold run STUDY` creates one")


@click.command()
@click.argument("study")
@click.option("--trial", type=click.IntRange(min=0), help="Number of a trial, which alone is deleted.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@storage_option
def delete(study: str, trial: int | None, yes: bool, storage: str) -> None:
    """Delete STUDY with its trials, their networks, and the studies beside it, or one trial; exported files stay.

    Example: branchfold delete digits --yes
    """
    from ...studies.database.storage import load_study, open_storage
    from ...studies.database.upkeep.overview import belongings, delete_study

    opened = open_storage(storage, create=False)
    loaded = load_study(opened, as_study_name(study))
    if trial is not None:
        _delete_trial(opened, loaded, trial, yes=yes)
        return
    trials, companions, networks = belongings(opened, loaded)
    beside = f", {' and '.join(companions)} beside it" if companions else ""
    what = f"study {loaded.study_name}: {_count(trials, 'trial')}{beside}, {_count(networks, 'network')}"
    if not yes and not _confirmed(f"delete {what}?"):
        print_line(make_console(), "nothing was deleted")
        return
    delete_study(opened, loaded)
    print_line(make_console(), f"deleted {what}")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Remove without asking.")
@storage_option
def gc(dry_run: bool, yes: bool, storage: str) -> None:
    """Remove the files of networks that no study names any more, for example of studies deleted in optuna-dashboard.

    Example: branchfold gc --dry-run
    """
    from ...studies.database.storage import open_storage
    from ...studies.database.upkeep.files import left_files, remove_files

    opened, console = open_storage(storage, create=False), make_console()
    left = left_files(opened) if opened.tables else []
    if not left:
        print_line(console, "every file is in use: there is nothing to remove")
        return
    what = f"{_count(len(left), 'file')} that nothing names, {sum(file.size for file in left):,} bytes"
    if dry_run:
        print_line(console, "\n".join([*(str(file.path) for file in left), f"would remove {what}"]))
    elif not yes and not _confirmed(f"remove {what}?", "removed"):
        print_line(console, "nothing was removed")
    else:
        remove_files(opened, {file.path.name for file in left})
        print_line(console, f"removed {what}")


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
def copy_storage(source: str, target: str) -> None:
    """Copy all studies and networks of the storage FROM into TO, another kind of database too, which must be empty.

    Example: branchfold copy sqlite:///studies/branchfold.db postgresql://me@server/studies
    """
    from ...studies.database.places.addresses import shown_url
    from ...studies.database.upkeep.copying import copy_database

    done = copy_database(source, target)
    what = ", ".join([_count(done.studies, "study"), _count(done.trials, "trial"), _count(done.files, "file")])
    print_line(make_console(), f"copied {what} to {shown_url(target)}")


def _delete_trial(opened: StudyStorage, study: optuna.Study, number: int, *, yes: bool) -> None:
    from ...studies.database.tables.names import NETWORK
    from ...studies.database.trials import trial_of
    from ...studies.database.upkeep.deletion import delete_trial
    from ...studies.database.upkeep.overview import check_deletable

    trial = trial_of(study, number)
    check_deletable(study, trial)
    what = f"trial {number} of {study.study_name} with {_count(int(NETWORK in trial.user_attrs), 'network')}"
    if not yes and not _confirmed(f"delete {what}?"):
        print_line(make_console(), "nothing was deleted")
        return
    delete_trial(opened, study, trial)
    print_line(make_console(), f"deleted {what}; its number stays, as a failed trial's")


def _confirmed(question: str, done: str = "deleted") -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise StudyError(f"nothing was {done}: there was no answer; --yes answers beforehand") from None


def _count(number: int, word: str) -> str:
    many = f"{word.removesuffix('y')}ies" if word.endswith("y") else f"{word}s"
    return f"{number} {word if number == 1 else many}"


def _files_table(rows: list[TrialFile], name: str, folder: Path) -> Table:
    from rich.table import Table
    from rich.text import Text

    caption = Text(f"files lie in {folder}")
    table = Table(title=f"study {name}", caption=caption, title_justify="left", caption_justify="left")
    for column in ("trial", "state", "metric", "file", "bytes"):
        table.add_column(column, justify="left" if column in ("state", "file") else "right", overflow="fold")
    for row in rows:
        size = "" if row.file is None else "missing" if row.size is None else f"{row.size:,}"
        value = "-" if row.value is None else row.metric.text(row.value)
        table.add_row(str(row.number), row.state, value, row.file or "-", size)
    return table


def _table(rows: list[StudyRow], url: str) -> Table:
    from rich.table import Table

    caption = "trials finished of those wanted; the best by its metric on the validation split, within the budget"
    table = Table(title=url, caption=caption, title_justify="left", caption_justify="left")
    for column in ("study", "trials", "best", "state"):
        table.add_column(column, justify="left" if column in ("study", "state") else "right", overflow="fold")
    for row in rows:
        trials = str(row.finished) if row.wanted is None else f"{row.finished} of {row.wanted}"
        value = "-" if row.value is None else f"{row.metric.text(row.value)} {row.metric.name}"
        table.add_row(row.name, trials, value, _STATES.get(row.state, row.state))
        for companion in row.companions:
            table.add_row(f"  {companion.name}", str(companion.finished), "", "")
    return table
