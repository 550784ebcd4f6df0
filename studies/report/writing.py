"""A report written to its files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, cast

from ...errors import StudyError, one_line
from ...files import whole_file
from ..tables.words import count, size_text
from .document import Document, figures_of
from .html import html_page
from .markdown import markdown_page
from .pictures import Form, write_pictures


class Wanted(NamedTuple):
    """What is written.

    Attributes:
        page: file of the page; None for none.
        form: "html" or "md".
        figures: folder of the figures; None for none.
        picture: their format.
    """

    page: Path | None
    form: str
    figures: Path | None
    picture: str


def write_report(document: Document, name: str, wanted: Wanted) -> list[str]:
    """Writes a report and returns a line on each thing written.

    Args:
        document: the report.
        name: of the study; the figures' files begin with it.
        wanted: what is written.

    Raises:
        StudyError: if a file cannot be written, or the figures cannot be drawn.
    """
    lines, pictures = [], {}
    if wanted.figures is not None:
        figures = {f"{name}-{section}": figure for section, figure in figures_of(document).items()}
        if not figures:
            raise StudyError(f"study {name!r} has nothing to draw yet; run `branchfold run {name}`")
        written = write_pictures(figures, wanted.figures, cast(Form, wanted.picture))
        pictures = {section.removeprefix(f"{name}-"): path for section, path in written.items()}
        lines.append(f"wrote {count(len(written), 'figure')} to {wanted.figures}")
    if wanted.page is not None:
        text = markdown_page(document, pictures) if wanted.form == "md" else html_page(document)
        try:
            with whole_file(wanted.page) as draft:
                draft.write_text(text, "utf-8")
        except OSError as error:
            raise StudyError(f"cannot write {wanted.page}: {error.strerror or one_line(error)}") from error
        lines.append(f"wrote {wanted.page} ({size_text(len(text.encode()))})")
    return lines
