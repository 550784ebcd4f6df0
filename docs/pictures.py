"""Takes the README's screenshots of a real study: terminal, dashboard and report.

python docs/pictures.py STUDY [--storage URL]      needs branchfold[docs] and Debian's chromium

The README's study: branchfold run digits
"""

import argparse
import io
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from optuna_dashboard import wsgi
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from branchfold.search.console.options import DEFAULT_STORAGE
from branchfold.search.console.shown.trial import show_trial
from branchfold.search.console.shown.trials import trials_table
from branchfold.search.space.courses import course_of
from branchfold.studies.dashboard.keeping import keep
from branchfold.studies.dashboard.serving import shielded
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.report.html import html_page
from branchfold.studies.report.making import make_document
from branchfold.studies.tables.study import StudyView
from branchfold.studies.tables.trials import trial_lines

FOLDER = Path(__file__).resolve().parent / "pictures"
# Bytes of each.
MOST = 300_000
_COLOURS = 128


def terminal(view: StudyView) -> None:
    """`show` and `show --trial` of the best, 80 columns wide, as SVG without a font from elsewhere."""
    best = next(line.number for line in trial_lines(view) if line.best)
    for name, width in (("show", 80), ("show-trial", 80)):
        console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, highlight=False)
        if name == "show":
            console.print(trials_table(view, width=width))
        else:
            show_trial(view, best, console)
        command = f"branchfold show {view.name}" + (f" --trial {best}" if name == "show-trial" else "")
        drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=command), flags=re.DOTALL)
        _kept(FOLDER / f"{name}.svg", drawing.encode())


def report(view: StudyView, browser: Browser) -> None:
    """The head of the report, light and dark."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html_page(make_document(view)), "utf-8")
        for theme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1200, "height": 1180}, color_scheme=theme)
            tab = context.new_page()
            tab.goto(page.as_uri())
            tab.wait_for_selector("body[data-drawn]", state="attached")
            _kept(FOLDER / f"report-{theme}.png", _few_colours(tab.screenshot()))
            context.close()


def dashboard(view: StudyView, url: str, browser: Browser) -> None:
    """The page of the best trial, with its note."""
    best = next(line.number for line in trial_lines(view) if line.best)
    keep(view)
    with _serving(url) as address:
        tab = browser.new_page(viewport={"width": 1300, "height": 860})
        tab.goto(f"{address}/dashboard/studies/{view.study._study_id}/trials?numbers={best}")
        tab.get_by_text("Kept up to date by branchfold.").wait_for()
        _kept(FOLDER / "dashboard.png", _few_colours(tab.screenshot()))


@contextmanager
def _serving(url: str) -> Iterator[str]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    storage = open_storage(url, create=False)
    storage.tables = False
    app = shielded(wsgi(storage, artifact_store=artifact_store(storage.url)))
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _few_colours(png: bytes) -> bytes:
    """The picture with a palette: a fifth of the bytes."""
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS).save(out, "png", optimize=True)
    return out.getvalue()


def _kept(path: Path, content: bytes) -> None:
    if len(content) > MOST:
        raise SystemExit(f"{path.name} has {len(content)} bytes, more than {MOST}")
    path.write_bytes(content)
    print(f"{path} ({len(content) / 1000:.0f} kB)")


def main() -> None:
    """Writes all pictures to docs/pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--storage", default=DEFAULT_STORAGE)
    given = parser.parse_args()
    view = StudyView(load_study(open_storage(given.storage, create=False), given.study), course_of)
    terminal(view)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        report(view, browser)
        dashboard(view, given.storage, browser)


if __name__ == "__main__":
    main()
