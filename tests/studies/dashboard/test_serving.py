import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from branchfold.errors import StudyError
from branchfold.studies.dashboard.serving import serve
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    open_study(open_storage(url, create=True), load_definition("digits"))
    return url


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_serves_the_studies_until_it_is_interrupted(url, tmp_path):
    port = free_port()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("branchfold"), "dashboard", "--storage", url, "--port", str(port)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=10) as answer:
                    studies = json.load(answer)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        names = [study["study_name"] for study in studies["study_summaries"]]
        assert names == ["digits"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_address_that_is_taken_or_not_ours(url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StudyError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*another --port or --host"):
            serve(url, "127.0.0.1", port)
    with pytest.raises(StudyError, match="cannot listen on nowhere"):
        serve(url, "nowhere.invalid", port)


def test_missing_database(tmp_path):
    with pytest.raises(StudyError, match="no study database"):
        serve(f"sqlite:///{tmp_path}/none.db", "127.0.0.1", free_port())
    assert not list(tmp_path.iterdir())
