import re
import tomllib
from pathlib import Path

import pytest
from made_studies import made_study, view_of

from branchfold.errors import StudyError
from branchfold.studies.database.rows import trial_rows
from branchfold.studies.definition.reading import load_definition, parse_definition
from branchfold.studies.definition.writing import toml_text
from branchfold.studies.report import pictures, writing
from branchfold.studies.report.costs import cost_section
from branchfold.studies.report.document import MARK, figures_of, is_report
from branchfold.studies.report.html import html_page
from branchfold.studies.report.making import make_document
from branchfold.studies.report.markdown import markdown_page, plain
from branchfold.studies.report.writing import Wanted, write_report
from branchfold.studies.tables.trials import trial_lines


@pytest.fixture(scope="module")
def document():
    return make_document(view_of(made_study(24)))


def said(document, section):
    return " ".join(next(each for each in document.sections if each.id == section).said)


class TestSentences:
    def test_the_answer_first(self, document):
        assert document.answer == (
            "vgg_digits keeps 15.0 % of its multiply-accumulates and 20.0 % of its parameters, and has 90.0 % accuracy "
            "on 200 test examples, where the full network has 94.0 %."
        )
        assert document.sections[0].id == "answer"
        assert "that overlaps the baseline's" in said(document, "answer")
        assert "Since that network was exported 20 more trials finished" in said(document, "answer")
        rows = {row[0]: row[1:] for row in document.sections[0].table.rows}
        assert rows["MACs"] == ("1,500", "10,000", "15.0 %")
        assert rows["accuracy, 200 test examples"][0] == "90.0 % (95 % interval 85.0 to 93.0 %)"

    def test_what_the_figures_show(self, document):
        assert re.search(r"The \w+ best cannot be told apart on 200 validation examples", said(document, "cost"))
        assert "No shape won: of " in said(document, "schedules")
        assert said(document, "importances").startswith("By what separates the better trials from all others (PED")
        assert "came with trial 23; 0 later trials brought none better" in said(document, "history")
        assert "4 pruned (stopped early)" in said(document, "failures")
        failed = next(each for each in document.sections if each.id == "failures").table
        assert [row[:2] for row in failed.rows] == [("10", "out of memory"), ("21", "out of memory")]

    def test_the_table_of_trials_has_all_of_them_with_numbers_to_sort_by(self, document):
        table = next(each for each in document.sections if each.id == "trials").table
        assert len(table.rows) == len(table.keys) == 24
        assert table.keys[0][:4] == (0, "complete", 0.75, 0.2)
        assert table.rows[23][-1].startswith("best, front: best of 18 trials")

    def test_a_front_at_one_point_goes_nowhere(self):
        view = view_of(made_study(12))
        line = next(line for line in trial_lines(view) if line.front)
        told = cost_section(view, [line, line]).said[1]
        assert told.startswith("The 2 trials on the front are one point: ")
        assert len(re.findall(r"[\d.]+ %", told)) == 2

    def test_how_to_read_what_is_seen_only_where_it_is(self, document):
        page, text = html_page(document), markdown_page(document)
        for reading in ("Each block is a channel group", "A click on a column"):
            assert reading in page
            assert reading not in text
        assert "Each block is a channel group" in markdown_page(document, {"answer": Path("answer.svg")})

    def test_the_runs_of_finalists_are_told_beside_what_the_trials_took(self, document, tmp_path):
        assert "finalists" not in said(document, "again")
        view = view_of(made_study(4))
        rows = trial_rows(view.study)
        object.__setattr__(view, "refined", rows)
        seconds, compute = sum(row.seconds for row in rows), sum(row.compute for row in rows)
        told = said(make_document(view), "again")
        assert f"4 runs of finalists and refined trials took another {seconds:.0f} s and {compute:.1f} epochs" in told

    def test_how_to_do_it_again(self, document):
        (_, commands), (title, text) = next(each for each in document.sections if each.id == "again").code
        assert commands.splitlines()[2] == "branchfold rerun made --trial 23"
        assert title == "made.toml"
        assert tomllib.loads(text)["model"]["factory"] == "vgg_digits"
        assert "root" not in tomllib.loads(text)["data"]

    @pytest.mark.parametrize("name", ["digits", "vgg16-cifar10", "shapes"])
    def test_a_definition_comes_back_from_its_toml(self, name):
        definition = load_definition(name)
        assert parse_definition(tomllib.loads(toml_text(definition.to_dict()))).to_dict() == definition.to_dict()


class TestWhereThereIsLittle:
    def test_no_trial(self):
        document = make_document(view_of(made_study(0, outcome=False)))
        assert document.answer == "No trial has begun yet."
        assert figures_of(document) == {}
        assert "<html" in html_page(document)

    def test_nothing_finished(self):
        study = made_study(0, outcome=False)
        study.ask()
        document = make_document(view_of(study))
        assert document.answer == "No trial within the budget has finished yet: of 1 trial, 1 running."
        assert "1 trial runs still" in said(document, "answer")

    def test_nothing_exported(self):
        document = make_document(view_of(made_study(4, outcome=False)))
        assert document.answer.startswith("So far the best of 4 finished trials keeps 57.5 % of vgg_digits's")
        assert "never saw the test split" in said(document, "answer")

    def test_two_objectives(self):
        document = make_document(view_of(made_study(12, objectives=("accuracy", "macs"))))
        front = next(each for each in document.sections if each.id == "cost").table.rows
        assert document.answer.startswith(f"The front of accuracy and macs has {len(front)} networks. In that of the ")
        assert [row[:3] for row in front][:2] == [("11", "80.5 %", "65.8 %"), ("8", "79.0 %", "53.3 %")]
        assert "The front goes from 75.0 % at 20.0 % of the baseline's MACs to 80.5 %" in said(document, "cost")
        assert "by their accuracy alone here" in said(document, "shapes")
        assert "On the front are trials 0, 1, 2, " in said(document, "history")
        assert "cost-macs" not in figures_of(document)

    def test_three_objectives(self):
        document = make_document(view_of(made_study(12, objectives=("accuracy", "macs", "latency"))))
        assert "several objectives, accuracy, macs and latency" in said(document, "answer")
        assert "several objectives leave no single best" in said(document, "cost")
        assert "The trials on the front have 60.0 % to 82.9 % of the baseline's latency." in said(
            document, "cost-latency"
        )
        drawn = figures_of(document)
        assert drawn["cost-latency"].layout.xaxis.title.text == "latency, share of the baseline's (%)"
        assert {trace.mode for trace in drawn["cost"].data if trace.name == "front (validation)"} == {"markers"}

    def test_a_study_of_another_version(self):
        study = made_study(3)
        study.set_user_attr("definition", {"later": True})
        assert "trials" in {section.id for section in make_document(view_of(study)).sections}


class TestPages:
    def test_html_is_one_file_that_names_escape_in(self):
        evil = '"<script>alert(1)</script>'
        page = html_page(make_document(view_of(made_study(12, groups={evil: 16, "second": 32}))))
        assert page.startswith(f"<!doctype html>\n{MARK}")
        assert "<script>alert(1)" not in page
        assert re.findall(r'(?:src|href)="(?!#)', page.split("<script")[0]) == []

    def test_markdown(self, document):
        page = markdown_page(document)
        assert page.splitlines()[2] == "# Study made"
        assert "| 23 | complete | 86.5 % | 67.9 % |" in page
        assert plain("a|b <c> [d] *e*") == r"a\|b &lt;c> \[d\] \*e\*"

    def test_written_whole_and_known_again(self, document, tmp_path):
        lines = write_report(document, "made", Wanted(tmp_path / "x" / "a.html", "html", None, "svg"))
        assert re.fullmatch(r"wrote \S+a\.html \(\d\.\d MB\)", lines[0])
        assert is_report(tmp_path / "x" / "a.html")
        write_report(document, "made", Wanted(tmp_path / "a.md", "md", None, "svg"))
        assert is_report(tmp_path / "a.md")
        (tmp_path / "b.md").write_text("# mine")
        assert not is_report(tmp_path / "b.md")
        assert not is_report(tmp_path / "none.md")

    def test_an_unwritable_place(self, document, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(StudyError, match=r"cannot write .*file/a\.html: "):
            write_report(document, "made", Wanted(tmp_path / "file" / "a.html", "html", None, "svg"))

    def test_markdown_names_the_figures_beside_it(self, document, tmp_path, monkeypatch):
        def draw(figures, folder, form):
            return {name: folder / f"{name}.{form}" for name in figures}

        monkeypatch.setattr(writing, "write_pictures", draw)
        lines = write_report(document, "made", Wanted(tmp_path / "a.md", "md", tmp_path / "figures", "png"))
        assert lines[0].startswith("wrote 10 figures to ")
        assert f"]({tmp_path / 'figures' / 'made-cost.png'})" in (tmp_path / "a.md").read_text("utf-8")

    def test_without_kaleido(self, monkeypatch, tmp_path):
        monkeypatch.setitem(__import__("sys").modules, "kaleido", None)
        with pytest.raises(StudyError, match=r"--figures needs kaleido: pip install 'branchfold\[figures\]'"):
            pictures.write_pictures({}, tmp_path, "svg")


@pytest.mark.slow
def test_two_thousand_trials(tmp_path):
    import time

    study = made_study(2000)
    begin = time.monotonic()
    page = html_page(make_document(view_of(study)))
    assert time.monotonic() - begin < 20
    assert len(page.encode()) < 10e6
