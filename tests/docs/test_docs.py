"""README and docs are true: tables as the code and the results make them, Python that runs, commands that exist."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest

from branchfold.docs.generate import tables
from branchfold.docs.generate.measurements import read
from branchfold.docs.generate.picture import FOLDER, THEMES, points
from branchfold.search.console.commands import cli

PAGES = tables.documents()
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(*languages):
    return [
        pytest.param(match[2], id=f"{page.name}-{page.read_text('utf-8')[: match.start()].count(chr(10)) + 1}")
        for page in PAGES
        for match in _BLOCK.finditer(page.read_text("utf-8"))
        if match[1] in languages
    ]


def commands():
    """Every `branchfold …` of the pages, in blocks of a shell and in running text."""
    found = set()
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for match in re.finditer(r"(?:^|[`$&/ ])branchfold ([a-z][^\n`|&]*)", text, re.MULTILINE):
            if match[1].split()[0] in cli.commands or match[0].startswith(("`", "$")):
                found.add(match[1].strip())
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_what_code_and_results_make_them(page):
    text = page.read_text("utf-8")
    assert tables.regenerated(text) == text, "python docs/generate/tables.py writes them anew"


def test_every_table_stands_somewhere():
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    assert [name for name in tables.TABLES if f"<!-- table: {name} -->" not in text] == []


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs", "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("line", commands())
def test_commands_are_known_to_the_command_line(line):
    name, *words = shlex.split(line, comments=True)
    known = {option for p in cli.commands[name].params if isinstance(p, click.Option) for option in p.opts}
    assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(
        r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)|srcset=\"([^\"]+)\"|src=\"([^\"]+)\"", page.read_text("utf-8")
    )
    missing = [path for found in targets for path in found if path and not (page.parent / path).exists()]
    assert missing == []


@pytest.mark.parametrize("theme", THEMES)
def test_the_picture_shows_the_results(theme):
    """Plotly writes each point's place into the SVG; the places follow from the numbers."""
    drawing = (FOLDER / f"accuracy-{theme}.svg").read_text("utf-8")
    baseline, found = points()
    assert f"baseline, {baseline.accuracy:.1f} %" in drawing
    places = re.findall(r'<path class="point" transform="translate\(([\d.]+),([\d.]+)\)"', drawing)
    drawn = [point for series in found.values() for point in series]
    assert len(places) == len(drawn)
    heights = [float(y) for _, y in places]
    scale = (heights[-1] - heights[0]) / (drawn[0].accuracy - drawn[-1].accuracy)
    for point, height in zip(drawn, heights, strict=True):
        assert height == pytest.approx(heights[0] + scale * (drawn[0].accuracy - point.accuracy), abs=0.1)


def test_the_map_shows_every_published_cell():
    drawing = (FOLDER / "schedules.svg").read_text("utf-8")
    for row in read("map")["cells"]:
        apart, half_width = (f"{100 * row[key]:.1f}" for key in ("difference", "half_width"))
        assert apart.replace("-", "−") in drawing
        assert f"± {half_width}" in drawing


def test_the_readme_is_short():
    assert len(Path(tables.ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("room", ["models", "search"])
def test_public_names_are_listed(room):
    text = (tables.ROOT / "docs" / "library.md").read_text("utf-8").partition("## Names that stay")[2]
    listed = re.search(rf"- `branchfold\.{room}`:((?:.|\n  )*)", text)[1]
    assert re.findall(r"`(\w+)`", listed) == sorted(import_module(f"branchfold.{room}").__all__)
