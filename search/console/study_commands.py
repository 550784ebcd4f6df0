"""The commands about a storage's studies as a whole: listed, deleted."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ...errors import StudyError
from .options import as_study_name, json_option, storage_option
from .terminal import make_console, print_line

if TYPE_CHECKING:
    from rich.table import Table

    from ...studies.database.upkeep.overview import StudyRow


# States that a word alone does not tell.
_STATES = {"companion": "left of a deleted study", "foreign": "not a study of this version of branchfold"}


@click.command("list")
@storage_option
@json_option
def list_studies(storage: str, as_json: bool) -> None:
    """List the studies of a storage: how far each is, and the best of its trials.

    Example: branchfold list
    """
    from ...studies.database.addresses import shown_url
    from ...studies.database.storage import open_storage
    from ...studies.database.upkeep.overview import study_rows

    rows = study_rows(open_storage(storage, create=False))
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
@click.option("--yes", is_flag=True, help="Delete without asking.")
@storage_option
def delete(study: str, yes: bool, storage: str) -> None:
    """Delete STUDY with its trials, their networks, and the studies beside it; exported files stay.

    Example: branchfold delete digits --yes
    """
    from ...studies.database.storage import load_study, open_storage
    from ...studies.database.upkeep.overview import belongings, delete_study

    opened = open_storage(storage, create=False)
    loaded = load_study(opened, as_study_name(study))
    trials, companions, networks = belongings(opened, loaded)
    beside = f", {' and '.join(companions)} beside it" if companions else ""
    what = f"study {loaded.study_name}: {_count(trials, 'trial')}{beside}, {_count(networks, 'network')}"
    if not yes and not _confirmed(f"delete {what}?"):
        print_line(make_console(), "nothing was deleted")
        return
    delete_study(opened, loaded)
    print_line(make_console(), f"deleted {what}")


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise StudyError("nothing was deleted: there was no answer; --yes deletes without asking") from None


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


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
