import time
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
from branchfold.studies.dashboard.serving import shielded
from branchfold.studies.database.findings.outcome import record_outcome
from branchfold.studies.database.optuna_internals import study_system_attrs
from branchfold.studies.database.storage import open_storage
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

        def write(view, numbers):
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


def test_the_dashboard_shows_the_note_of_a_trial_and_the_figures(study):
    import threading
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    keep(view_of(study))
    with (
        chromium() as browser,
        make_server("127.0.0.1", 0, shielded(wsgi(study._storage)), handler_class=Quiet) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}/dashboard/studies/{study._study_id}"
        try:
            with opened(browser, f"{base}/trials?numbers=7") as (page, errors, _):
                page.get_by_text("cannot be told from the best").wait_for()
                assert errors == []
            with opened(browser, base) as (page, errors, _):
                page.get_by_text("accuracy against cost").wait_for()
                assert errors == []
        finally:
            server.shutdown()
