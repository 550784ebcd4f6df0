"""A study on a real cluster of several Ray nodes, PostgreSQL and an object store; a node is killed in the middle."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from optuna.trial import TrialState
from servers import NoServer, PostgreSQL
from tiny import tiny_toml

from branchfold.studies.database.places.artifacts import NETWORK, fetch_network
from branchfold.studies.database.places.store import artifact_store
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.database.trials import finished_trials

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

MAIN = "from branchfold.search.console.commands import main; main()"
TOML = tiny_toml(trials=6, baseline_epochs=1, epochs=12, shapes='["linear"]')
SECRET = "hush-hush-7391"


@pytest.fixture
def database():
    try:
        server = PostgreSQL()
    except NoServer as error:
        pytest.skip(str(error))
    yield server
    server.close()


@pytest.fixture
def bucket(monkeypatch):
    """The URL of a bucket in an object store of this machine; boto's own environment leads there."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    pytest.importorskip("upath")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="studies")
    yield "s3://studies/here"
    server.stop()


@pytest.fixture
def nodes(monkeypatch, tmp_path_factory, bucket):
    """A cluster of a head without room, and two nodes with room for one worker each."""
    utilities = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.added = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster
    cluster.shutdown()


class Run:
    """`branchfold run` in a process of its own."""

    def __init__(self, folder, url, address):
        (folder / "tiny.toml").write_text(TOML)
        self.out = folder / "out"
        command = [sys.executable, "-c", MAIN, "run", "tiny.toml", "--ray", address, "--storage", url]
        with self.out.open("w") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)

    def wait_for(self, text, within=150):
        deadline = time.monotonic() + within
        while text not in self.out.read_text():
            assert time.monotonic() < deadline, self.out.read_text()
            assert self.process.poll() is None or text in self.out.read_text(), self.out.read_text()
            time.sleep(0.2)


def telling(secret):
    """Ids of the processes whose command lines hold a text."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if secret in entry.read_text(errors="replace"):
                found.add(int(entry.parent.name))
    return found


def state_of(url):
    study = load_study(open_storage(url, create=False), "tiny")
    return study, {trial.number: trial.state for trial in study.get_trials(deepcopy=False)}


def test_a_node_that_is_lost_costs_no_trial(nodes, database, bucket, tmp_path):
    url = f"{database.database('one')}&artifacts={bucket}".replace("tests@", f"tests:{SECRET}@")
    run = Run(tmp_path, url, nodes.address)
    try:
        run.wait_for("worker 0 runs on ")
        run.wait_for("worker 1 runs on ")
        run.wait_for("trial 1")
        assert telling(SECRET) == {run.process.pid}, "only where the user wrote it on a command line"
        nodes.remove_node(nodes.added[1], allow_graceful=False)
        assert run.process.wait(400) == 0, run.out.read_text()
    finally:
        run.process.kill()
    text = run.out.read_text()
    study, states = state_of(url)
    done = finished_trials(study)
    assert len(done) == 6
    assert TrialState.RUNNING not in states.values()
    assert "died: " in text
    assert "goes on from its checkpoint" in text
    store = artifact_store(url)
    for trial in done:
        assert trial.state == TrialState.COMPLETE
        fetch_network(study, trial, store, tmp_path / "network")  # checks its SHA-256
        assert NETWORK in trial.user_attrs
    assert (tmp_path / "tiny.safetensors").is_file()
    assert not (tmp_path / "studies").exists()
    assert SECRET not in text
    logs = [log for log in Path(nodes.head_node.get_logs_dir_path()).rglob("*") if log.is_file()]
    assert logs
    assert [log for log in logs if SECRET in log.read_text(errors="replace")] == []
