import json
import time
import tomllib
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from browsers import chromium, opened
from made_studies import made_outcome, made_study, view_of
from optuna_dashboard import get_note, save_note, wsgi

from branchfold.search.space.courses import course_of
from branchfold.studies.dashboard import keeping
from branchfold.studies.dashboard.keeping import Keeper, keep
from branchfold.studies.dashboard.notes import MARK, study_note, trial_note
from branchfold.studies.dashboard.serving import _Handler, _Server, shielded
from branchfold.studies.database.findings.outcome import record_outcome
from branchfold.studies.database.optuna_internals import attached_files, study_system_attrs
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.upkeep.deletion import delete_trial
from branchfold.studies.database.upkeep.files import left_files
from branchfold.studies.database.upkeep.overview import delete_study
from branchfold.studies.tables.trials import trial_lines


@pytest.fixture(scope="module")
def source():
    return made_study()


@pytest.fixture
def study(source, tmp_path):
    """It in a database."""
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = optuna.create_study(storage=storage, study_name=source.study_name, directions=source.directions)
    for key, value in source.user_attrs.items():
        study.set_user_attr(key, value)
    study.add_trials(source.trials)
    record_outcome(study, made_outcome())
    return study


def figure_sizes(study):
    sizes = {}
    for key, value in study_system_attrs(study, ["dashboard:plot_data:"]).items():
        name = key.split(":")[2]
        sizes[name] = sizes.get(name, 0) + len(value)
    return sizes


class TestNotes:
    def test_of_a_study(self, source):
        view = view_of(source)
        note = study_note(view, trial_lines(view))
        assert "Asked: the best accuracy of vgg\\_digits on digits, in 12 trials." in note
        assert "Baseline (30 epochs): 95.0 % (95 % interval 91.0 to 97.0 %) on 200 validation examples" in note
        assert "Best so far: **trial 11, 80.5 %** at 65.8 % of the MACs" in note
        assert "**Delivered** 15.0 % of the MACs" in note
        assert "branchfold export made " in note

    def test_of_a_trial(self, source):
        view = view_of(source)
        note = trial_note(view, trial_lines(view)[7])
        assert "accuracy at α = 0: **78.5 %**, cannot be told from the best" in note
        assert "- Schedule: linear (α falls evenly)" in note
        assert "accuracy at α = 0  ▁" in note
        assert "second      16 of 32  ████████" in note
        assert "`branchfold export made --trial 7`" in note
        assert "out of memory" in trial_note(view, trial_lines(view)[10])


class TestKeeping:
    def test_notes_and_small_figures_are_where_the_dashboard_reads_them(self, study):
        keep(view_of(study))
        assert get_note(study).endswith(MARK)
        trials = study.get_trials(deepcopy=False)
        assert "**78.5 %**" in study_system_attrs(study, [f"dashboard:{trials[7]._trial_id}:note_str:"]).popitem()[1]
        sizes = figure_sizes(study)
        assert set(sizes) == {"accuracy-against-cost", "the-schedules-tried", "how-trials-went"}
        assert max(sizes.values()) < 100_000

    def test_somebodys_own_note_stays_and_an_older_one_of_ours_does_not(self, study):
        keep(view_of(study))
        first = get_note(study)
        study.set_user_attr("baseline", None)
        keep(view_of(study))
        assert get_note(study) != first
        save_note(study, "mine")
        keep(view_of(study))
        assert get_note(study) == "mine"

    def test_writes_only_what_the_trials_have_paid_for(self, study, monkeypatch):
        written = []

        def write(view, numbers, seconds):
            written.append(numbers if numbers is None else set(numbers))
            time.sleep(0.05)

        monkeypatch.setattr(keeping, "keep", write)
        keeper = Keeper(study, course_of)
        keeper.ended(0, 60.0)
        assert written == []  # a first update is taken to cost a second
        monkeypatch.setattr(keeping, "_FIRST_COST", 0.0)
        keeper = Keeper(study, course_of)
        for number in range(8):  # each pays 0.01 s, of an update's 0.05 or more
            keeper.ended(number, 1.0)
        assert written == [{0}]
        keeper.ended(8, 1000.0)
        assert written == [{0}, set(range(1, 9))]
        keeper.finish()
        assert written[-1] is None

    def test_many_trials_have_small_figures_all_the_same(self):
        view = view_of(made_study(600))
        assert max(map(len, keeping._figures(view, trial_lines(view)).values())) < 100_000


def artifacts(study):
    """The files that a study and its trials list, by trial."""
    numbers = {trial._trial_id: trial.number for trial in study.get_trials(deepcopy=False)}
    return {numbers.get(owner): files for owner, files in attached_files(study).items()}


class TestDownloads:
    def test_a_trial_that_ended_has_figures_and_a_description(self, study, tmp_path):
        keep(view_of(study), seconds=60)
        found = artifacts(study)
        assert set(found) == {None, *(n for n in range(12) if n != 10)}  # the tenth failed
        assert set(found[7]) == {"course.svg", "widths.svg", "made-trial-7.json"}
        folder = tmp_path / "artifacts"
        assert all((folder / found[7][name]).stat().st_size < 100_000 for name in found[7])
        described = json.loads((folder / found[7]["made-trial-7.json"]).read_text())
        assert (described["number"], described["metric"], len(described["milestones"])) == (7, 0.785, 5)
        trial = study.get_trials(deepcopy=False)[7]
        note = trial_note(view_of(study), trial_lines(view_of(study))[7], found[7])
        assert f"](/artifacts/{study._study_id}/{trial._trial_id}/{found[7]['course.svg']})" in note
        assert "█" not in note

    def test_they_are_made_once_and_only_as_many_as_there_is_time_for(self, study):
        keep(view_of(study), {3, 7}, 60.0)
        first = artifacts(study)
        assert set(first) == {3, 7}
        keep(view_of(study), {1, 3, 7}, -1.0)
        assert artifacts(study) == first
        keep(view_of(study), {1, 3, 7}, 60.0)
        assert {n: files for n, files in artifacts(study).items() if n != 1} == first

    def test_a_study_has_its_definition_and_where_its_time_pays_for_it_its_report(self, study, monkeypatch, tmp_path):
        keep(view_of(study))
        before = artifacts(study)[None]
        assert set(before) == {"made.toml"}
        assert tomllib.loads((tmp_path / "artifacts" / before["made.toml"]).read_text())["model"]["factory"]
        monkeypatch.setattr(keeping, "_REPORT_COST", 0.5)  # the trials took 96 s
        keep(view_of(study))
        after = artifacts(study)[None]
        assert set(after) == {"made.toml", "made-report.html"}
        assert "<!doctype html>" in (tmp_path / "artifacts" / after["made-report.html"]).read_text()
        assert not (tmp_path / "artifacts" / before["made.toml"]).exists()

    def test_they_go_with_their_trial_and_their_study(self, study, tmp_path):
        keep(view_of(study), seconds=60)
        storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=False)
        assert left_files(storage) == []
        loaded = load_study(storage, "made")
        delete_trial(storage, loaded, loaded.trials[7])
        assert 7 not in artifacts(study)
        delete_study(storage, load_study(storage, "made"))
        assert list((tmp_path / "artifacts").iterdir()) == []

    def test_a_study_in_memory_and_a_folder_that_cannot_be_made_keep_none(self, source, study, tmp_path):
        keep(view_of(source), seconds=60)
        assert attached_files(source) == {}
        (tmp_path / "artifacts").write_text("")
        Keeper(study, course_of).finish()
        assert artifacts(study) == {}


def answer(app, path):
    """Status, headers and body of a GET."""
    environ, found = {"PATH_INFO": path}, {}
    setup_testing_defaults(environ)

    def start(status, headers, *_):
        found.update(status=status, headers=dict(headers))

    body = b"".join(app(environ, start))
    return found["status"], found["headers"], body


def test_a_page_among_the_artifacts_cannot_run():
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html"), ("Access-Control-Allow-Origin", "*")])
        return [b"<script>alert(1)</script>"]

    status, headers, _ = answer(shielded(app), "/artifacts/1/abc")
    assert status == "200 OK"
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["Content-Disposition"] == "attachment"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Content-Security-Policy" not in answer(shielded(app), "/dashboard/")[1]


def test_the_dashboard_shows_notes_with_figures_and_serves_downloads_that_do_not_run(study, tmp_path, monkeypatch):
    import threading
    from wsgiref.simple_server import make_server

    monkeypatch.setattr(keeping, "_REPORT_COST", 0.5)
    keep(view_of(study), seconds=60)
    url = f"sqlite:///{tmp_path}/s.db"
    served = open_storage(url, create=False)
    served.tables = False
    app = shielded(wsgi(served, artifact_store=artifact_store(url)))
    loaded = "picture => picture.complete && picture.naturalWidth"
    with (
        chromium() as browser,
        make_server("127.0.0.1", 0, app, _Server, _Handler) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site = f"http://127.0.0.1:{server.server_port}"
        base = f"{site}/dashboard/studies/{study._study_id}"
        try:
            with opened(browser, f"{base}/trials?numbers=7") as (page, errors, _):
                page.get_by_text("cannot be told from the best").wait_for()
                for name in ("channels that stay of each group", "accuracy at α = 0 and α, over compute"):
                    picture = page.get_by_alt_text(name)
                    picture.scroll_into_view_if_needed()
                    page.wait_for_function(loaded, arg=picture.element_handle())
                page.get_by_text("made-trial-7.json").first.wait_for()
                assert errors == []
            with opened(browser, base) as (page, errors, _):
                page.get_by_text("accuracy against cost").wait_for()
                assert errors == []
                report = f"{site}/artifacts/{study._study_id}/{artifacts(study)[None]['made-report.html']}"
                with page.expect_download() as download:
                    page.evaluate("address => { window.location = address }", report)
                assert "<!doctype html>" in download.value.path().read_text("utf-8")
        finally:
            server.shutdown()
