"""A PostgreSQL server restarts while workers use it and some of them are killed: nothing is lost, the study goes on."""

import random
import time

import pytest
from databases import empty_postgresql, server  # noqa: F401  fixtures

from .test_kills import ENDLESS


@pytest.mark.slow
# SQLAlchemy drops a broken connection without closing it, which psycopg remarks on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_server_restarts_under_three_workers(server, empty_postgresql, make_study, assert_sound, make_toml, tmp_path):  # noqa: F811
    toml = make_toml(trials=ENDLESS, epochs=20)
    study = make_study(toml, workers=3, url=f"{empty_postgresql}&artifacts={tmp_path.resolve()}/kept")
    draw, before = random.Random(3), {}
    for number, mode in enumerate(("fast", "immediate", "fast", "immediate")):
        while not study.running():
            study.start()
            time.sleep(0.1)
        time.sleep(draw.uniform(0, 3))
        before |= study.finished()
        server.stop(mode)
        if number == 1 and (workers := study.workers_alive()):
            study.kill(draw.choice(workers))  # which then has no server to be missed by
        time.sleep(draw.uniform(0, 2))
        server.start()
        deadline = time.monotonic() + 120
        while not set(study.finished()) - set(before):
            assert time.monotonic() < deadline, "no trial ends any more"
            assert study.process.poll() is None, (study.folder / "out").read_text()[-3000:]
            time.sleep(0.2)
    target = study.end_after(2, ENDLESS)
    study.run_out(within=300)
    assert_sound(study, target, before)
