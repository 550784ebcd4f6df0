"""What a report consists of, before it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import plotly.graph_objects as go


# Among the first characters of a report, by which it is known as one that may be replaced.
MARK = "<!-- report, written by branchfold -->"


class Table(NamedTuple):
    """A table.

    Attributes:
        columns: their titles.
        rows: of texts.
        keys: what a row is sorted by in each column, where its text does not say that; as `rows`, or empty.
        sortable: whether readers may sort it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: tuple[tuple[float | str | None, ...], ...] = ()
    sortable: bool = False


class Section(NamedTuple):
    """A section of a report.

    Attributes:
        id: a word, by which links and files are called.
        title: of the section.
        said: paragraphs.
        figure: below them.
        alt: what the figure shows, for those who do not see it.
        reading: how the figure is to be read; a paragraph above it, left out where there is no figure to see.
        table: below that.
        code: below that, as (title, text); long ones are folded up.
    """

    id: str
    title: str
    said: tuple[str, ...]
    figure: go.Figure | None = None
    alt: str = ""
    table: Table | None = None
    code: tuple[tuple[str, str], ...] = ()
    reading: str = ""


class Document(NamedTuple):
    """A report: its title, the answer before all else, its sections, and how it was made."""

    title: str
    answer: str
    sections: tuple[Section, ...]
    made: str


def is_report(path: Path) -> bool:
    """Whether a file is a report that branchfold wrote."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(100)
    except OSError:
        return False


def figures_of(document: Document) -> dict[str, go.Figure]:
    """The figures of a report by their sections' ids."""
    return {section.id: section.figure for section in document.sections if section.figure is not None}


def without_empty(sections: Sequence[Section]) -> tuple[Section, ...]:
    """The sections that say or show anything."""
    return tuple(s for s in sections if s.said or s.figure is not None or s.table is not None or s.code)
