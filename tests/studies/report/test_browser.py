"""The report in a real browser: nothing fails, nothing is fetched, everything is drawn."""

import pytest
from browsers import CHROMIUM, chromium, opened
from made_studies import made_study, view_of

from branchfold.studies.figures.theme import template
from branchfold.studies.report.document import figures_of
from branchfold.studies.report.html import html_page
from branchfold.studies.report.making import make_document
from branchfold.studies.report.pictures import write_pictures

EVIL = "\"'><script>document.title='taken'</script>"
# How many marks a figure has: points, bars, lines.
_MARKS = "node => node.querySelectorAll('.point, .points path, .js-line, .lines path').length"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def document():
    study = made_study(24, groups={EVIL: 16, "second": 32, "third": 64})
    study.set_user_attr("baseline", {**study.user_attrs["baseline"], "source": EVIL})
    return make_document(view_of(study))


@pytest.fixture(scope="module")
def address(document, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "study.html"
    path.write_text(html_page(document._replace(title=EVIL)), "utf-8")
    return path.as_uri()


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (400, True)])
def test_everything_is_drawn_and_nothing_fetched(browser, document, address, width, dark):
    with opened(browser, address, width=width, dark=dark) as (page, errors, requests):
        page.wait_for_selector("body[data-drawn]", state="attached")
        assert errors == []
        assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [address]
        assert page.title() == EVIL
        for section in document.sections:
            shown = page.locator(f"#{section.id}").inner_text()
            assert section.title in shown
            assert all(text.replace("`", "") in shown for text in section.said)
        for name in figures_of(document):
            assert page.locator(f"#figure-{name}").evaluate(_MARKS) > 0, name
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper = page.evaluate("document.getElementById('figure-cost')._fullLayout.paper_bgcolor")
        assert paper == template("dark" if dark else "light").layout.paper_bgcolor
        first, metric = "#table-trials tbody tr:first-child td:first-child", "#table-trials th:nth-child(3) button"
        assert page.inner_text(first) == "0"
        page.click(metric)
        page.click(metric)
        assert page.inner_text(first) == "23"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: apt install chromium)")
def test_figures_as_files(document, tmp_path):
    pytest.importorskip("kaleido")
    figures = {"made-cost": figures_of(document)["cost"]}
    written = write_pictures(figures, tmp_path, "svg")
    assert written == {"made-cost": tmp_path / "made-cost.svg"}
    assert "accuracy (%)" in (tmp_path / "made-cost.svg").read_text("utf-8")
