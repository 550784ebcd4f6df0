"""A report as Markdown, its figures as files beside it where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .document import MARK, Document, Section, Table


def markdown_page(document: Document, pictures: Mapping[str, Path] | None = None) -> str:
    """The page.

    Args:
        document: the report.
        pictures: a section's id → its figure's file, as the page is to name it.
    """
    parts = [MARK, f"# {plain(document.title)}", plain(document.answer)]
    for section in document.sections:
        parts += _section(section, (pictures or {}).get(section.id))
    return "\n\n".join([*parts, plain(document.made)]) + "\n"


def markdown_table(table: Table) -> str:
    """A table of Markdown."""
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(cell if cell == '---' else plain(cell) for cell in line)} |" for line in lines)


def plain(text: str) -> str:
    """Text that Markdown and the HTML in it leave as it is, in one line."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("<", "&lt;")
    for mark in ("|", "[", "]", "*"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _section(section: Section, picture: Path | None) -> list[str]:
    parts = [f"## {plain(section.title)}", *map(plain, section.said)]
    if picture is not None:
        if section.reading:
            parts.append(plain(section.reading))
        parts.append(f"![{plain(section.alt)}]({picture.as_posix()})")
    if section.table is not None:
        parts.append(markdown_table(section.table))
    for title, text in section.code:
        parts.append(f"{title}:\n\n{_fenced(text)}")
    return parts


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}"
