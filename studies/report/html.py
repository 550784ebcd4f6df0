"""A report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files

from plotly.offline import get_plotlyjs

from ..figures.theme import compact, template
from .document import MARK, Document, Section, Table, figures_of

# Longer texts have lines of their own in a table's cell.
_LONG = 24
# Nothing is fetched, whatever a name or a note contains; the page's own script is what runs.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def html_page(document: Document) -> str:
    """The page."""
    sections = document.sections
    links = "".join(f'<a href="#{section.id}">{_safe(section.title)}</a>' for section in sections)
    return "\n".join(
        [
            "<!doctype html>",
            MARK,
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_safe(document.title)}</title>",
            f"<style>{_file('page.css')}</style>",
            "</head>",
            "<body>",
            f'<header><h1>{_safe(document.title)}</h1><p class="answer">{_safe(document.answer)}</p>'
            f"<nav>{links}</nav></header>",
            "<main>",
            *map(_section, sections),
            f"<footer>{_safe(document.made)}</footer>",
            "</main>",
            f'<script type="application/json" id="figures">{_data(document)}</script>',
            f"<script>{get_plotlyjs()}</script>",
            f"<script>{_file('page.js')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _section(section: Section) -> str:
    parts = [f'<section id="{section.id}">', f"<h2>{_safe(section.title)}</h2>"]
    parts += [f"<p>{_marked(text)}</p>" for text in section.said]
    if section.figure is not None:
        if section.reading:
            parts.append(f"<p>{_marked(section.reading)}</p>")
        height = section.figure.layout.height
        parts.append(
            f'<div class="figure" id="figure-{section.id}" role="img" aria-label="{_safe(section.alt)}" '
            f'style="min-height:{height}px"></div>'
        )
    if section.table is not None:
        if section.table.sortable:
            parts.append("<p>A click on a column's title sorts by it.</p>")
        parts.append(_table(section.table, section.id))
    for index, (title, text) in enumerate(section.code):
        block = f"<pre>{_safe(text.rstrip())}</pre>"
        parts.append(block if index == 0 else f"<details><summary>{_safe(title)}</summary>{block}</details>")
    return "\n".join([*parts, "</section>"])


def _table(table: Table, name: str) -> str:
    numbers = [_is_number(table, column) for column in range(len(table.columns))]
    heads = []
    for title, number in zip(table.columns, numbers, strict=True):
        label = _safe(title) or "&nbsp;"
        inside = f'<button type="button">{label}</button>' if table.sortable else label
        heads.append(f"<th{' class=number' if number else ''}>{inside}</th>")
    kinds = ["number" if number else "long" * _is_long(table, column) for column, number in enumerate(numbers)]
    rows = []
    for row in table.rows:
        cells = (
            f"<td{f' class={kind}' if kind else ''}>{_safe(text)}</td>" for text, kind in zip(row, kinds, strict=True)
        )
        best = table.sortable and row[-1].startswith("best")
        rows.append(f"<tr{' class=best' if best else ''}>{''.join(cells)}</tr>")
    kind = "sortable" if table.sortable else "plain"
    return (
        f'<div class="scroll{" tall" if table.sortable else ""}"><table class="{kind}" id="table-{name}"><thead><tr>'
        f"{''.join(heads)}</tr></thead><tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _is_number(table: Table, column: int) -> bool:
    if table.keys:
        return all(isinstance(row[column], int | float | None) for row in table.keys)
    return False


def _is_long(table: Table, column: int) -> bool:
    return any(len(row[column]) > _LONG for row in table.rows)


def _data(document: Document) -> str:
    """What the page's script reads, in a form that cannot end the element that holds it."""
    themes = {theme: template(theme).layout.to_plotly_json() for theme in ("light", "dark")}
    figures = []
    for name, figure in figures_of(document).items():
        figures.append(f"{json.dumps(name)}:{compact(figure.update_layout(template=None))}")
    keys = {f"table-{s.id}": s.table.keys for s in document.sections if s.table is not None and s.table.sortable}
    text = (
        f'{{"templates":{json.dumps(themes)},"keys":{json.dumps(keys, separators=(",", ":"), ensure_ascii=False)},'
        f'"figures":{{{",".join(figures)}}}}}'
    )
    return text.replace("<", "\\u003c")


def _marked(text: str) -> str:
    """Escaped text in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _safe(text))


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _safe(text: str) -> str:
    return html.escape(text, quote=True)
