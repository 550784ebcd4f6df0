import csv
import io
import json
import re

import pytest

from branchfold.studies.report.document import is_report

FINISHED = pytest.mark.usefixtures("copy")


@FINISHED
def test_csv_and_json_have_the_same_columns(branchfold):
    rows = list(csv.DictReader(io.StringIO(branchfold("show", "tiny", "--csv").out)))
    values = json.loads(branchfold("show", "tiny", "--json").out)
    assert [list(row) for row in rows] == [list(value) for value in values]
    assert [row["state"] for row in rows] == [value["state"] for value in values]
    assert float(rows[0]["metric"]) == values[0]["metric"]


@FINISHED
def test_one_trial_whole(branchfold):
    text = branchfold("show", "tiny", "--trial", "0").out
    assert text.startswith("trial 0 of tiny: complete, ran to the end\nBranches: least-squares")
    assert "milestones" in text
    assert re.search(r"features\.0 +│ +\d+ │ +8 │", text)
    assert text.rstrip().endswith("branchfold export tiny --trial 0")
    found = json.loads(branchfold("show", "tiny", "--trial", "0", "--json").out)
    assert [m["number"] for m in found["milestones"]] == [0, 1, 2]


@FINISHED
def test_a_report_is_written_and_replaces_none_but_its_own(branchfold, refused, copy):
    for _ in range(2):
        assert branchfold("report", "tiny").out.startswith("wrote tiny-report.html (")
    assert is_report(copy / "tiny-report.html")
    assert "on 359 test examples" in (copy / "tiny-report.html").read_text("utf-8")
    (copy / "mine.md").write_text("# mine")
    assert "no report that branchfold wrote" in refused("report", "tiny", "--output", "mine.md")
    assert (copy / "mine.md").read_text() == "# mine"
    assert "--figures FOLDER" in refused("report", "tiny", "--format", "svg")
    assert "it is no folder" in refused("report", "tiny", "--format", "svg", "--figures", "mine.md")


@FINISHED
def test_two_trials(branchfold, refused):
    text = branchfold("compare", "tiny", "0", "1").out
    assert "trial 1 has " in text
    assert "on 288 validation examples they " in text
    assert "give two trials, `branchfold compare tiny 0 B`" in refused("compare", "tiny", "0")
    assert "'one' is no number of a trial" in refused("compare", "tiny", "0", "one")
    assert "no trial 9" in refused("compare", "tiny", "0", "9")


@FINISHED
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--where", "speed<3"], "no column 'speed'"),
        (["--csv", "--json"], "give --csv or --json, and not both"),
        (["--trial", "0", "--top", "2"], "--trial shows one trial whole"),
        (["--trial", "7"], "no trial 7"),
    ],
)
def test_mistakes(refused, options, line):
    assert line in refused("show", "tiny", *options)


@FINISHED
def test_columns_tell_the_width_where_there_is_no_terminal(branchfold, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = branchfold("show", "tiny").out
    assert max(map(len, wide.splitlines())) > 80
    monkeypatch.setenv("COLUMNS", "80")
    narrow = branchfold("show", "tiny").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert "a wider terminal, --json or --csv shows more columns" in " ".join(narrow.split())
    monkeypatch.setenv("COLUMNS", "wide")
    assert branchfold("show", "tiny").out == wide
