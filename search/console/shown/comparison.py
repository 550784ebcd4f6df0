"""Two trials or studies side by side, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ....studies.tables.comparison import Compared, Row


def comparison_parts(found: Compared) -> Iterator[RenderableType]:
    """What is printed: sentences, what was measured and what differs, and the widths."""
    for sentence in found.said:
        yield Text(sentence)
    yield _table("", found.names, found.rows)
    if found.widths:
        yield _table("group", found.names, found.widths, title="channels that stay")


def _table(what: str, names: tuple[str, str], rows: tuple[Row, ...], title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for column in (what, *names):
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        differs = row.first != row.second
        table.add_row(Text(row.what), Text(row.first), Text(row.second), style=None if differs else "dim")
    return table
