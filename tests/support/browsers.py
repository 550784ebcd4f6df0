"""A real Chromium for tests of pages; on the path of pytest alone."""

import shutil
from contextlib import contextmanager
from typing import NamedTuple

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Seen(NamedTuple):
    """A page that was opened, what it said on its console or failed with, and the addresses that it asked for."""

    page: object
    errors: list
    requests: list


@contextmanager
def chromium():
    """A browser; skips the test with a reason where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium (Debian: apt install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, address, *, width=1440, dark=False):
    """A page of the browser."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
    page, seen = context.new_page(), ([], [])
    page.on("console", lambda message: seen[0].append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen[0].append(str(error)))
    page.on("request", lambda request: seen[1].append(request.url))
    page.goto(address)
    yield Seen(page, *seen)
    context.close()
