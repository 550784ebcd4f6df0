import resource

import optuna
import pytest

from branchfold.errors import StudyError
from branchfold.studies.database.artifacts import (
    artifact_folder,
    artifact_store,
    attach_network,
    check_artifact_folder,
    fetch_network,
    load_baseline,
    save_baseline,
)
from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.definition.reading import load_definition

# `ask` records no heartbeat and says so; `branchfold run` uses `optimize`, these tests do not.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with:UserWarning")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/studies/x.db"


@pytest.fixture
def storage(url):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return open_storage(url, create=True)


@pytest.fixture
def study(storage):
    return open_study(storage, load_definition("digits"))


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.safetensors"
    path.write_bytes(bytes(range(256)))
    return path


def test_folder_is_beside_the_database_or_under_studies(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert artifact_folder(url) == tmp_path / "studies" / "artifacts"
    assert artifact_folder("sqlite:///mine.db") == tmp_path / "artifacts"
    assert artifact_folder("postgresql://host/x") == tmp_path / "studies" / "artifacts"


def test_network_of_a_trial_comes_back(study, storage, url, network, tmp_path):
    store = artifact_store(url)
    trial = study.ask()
    artifact = attach_network(trial, storage, store, network)
    study.tell(trial, 0.9)
    assert trial.user_attrs["network"] == artifact
    assert (tmp_path / "studies" / "artifacts" / artifact).read_bytes() == network.read_bytes()
    destination = tmp_path / "new" / "best.safetensors"
    for _ in range(2):  # what is there is replaced
        assert fetch_network(study, study.trials[0], store, destination) == destination
        assert destination.read_bytes() == network.read_bytes()
    assert list(destination.parent.iterdir()) == [destination]
    [meta] = optuna.artifacts.get_all_artifact_meta(study.trials[0], storage=storage)
    assert (meta.artifact_id, meta.filename) == (artifact, "network.safetensors")


def test_trial_without_network_and_missing_file(study, storage, url, network, tmp_path):
    store = artifact_store(url)
    trial = study.ask()
    with pytest.raises(StudyError, match=r"trial 0 of 'digits' \(running\) kept no network"):
        fetch_network(study, study.trials[0], store, tmp_path / "out")
    artifact = attach_network(trial, storage, store, network)
    (tmp_path / "studies" / "artifacts" / artifact).unlink()
    with pytest.raises(StudyError, match=f"the network of trial 0 of 'digits' is missing: no artifact {artifact}"):
        fetch_network(study, study.trials[0], store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failed_copy_leaves_the_trial_without_a_network(study, storage, url, tmp_path):
    trial = study.ask()
    with pytest.raises(StudyError, match="cannot keep the network"):
        attach_network(trial, storage, artifact_store(url), tmp_path / "nowhere")
    assert "network" not in study.trials[0].user_attrs


def test_full_disk_leaves_nothing_half_written_or_listed(study, storage, url, network, tmp_path):
    """The limit is the system's own: the file is cut where it is reached."""
    store, trial, before = artifact_store(url), study.ask(), resource.getrlimit(resource.RLIMIT_FSIZE)
    network.write_bytes(bytes(4_000_000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(StudyError, match=r"cannot keep the network .*: File too large"):
            attach_network(trial, storage, store, network)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "studies" / "artifacts").iterdir()) == []
    assert optuna.artifacts.get_all_artifact_meta(study.trials[0], storage=storage) == []
    assert "network" not in study.trials[0].user_attrs
    attach_network(trial, storage, store, network)
    [kept] = (tmp_path / "studies" / "artifacts").iterdir()
    assert kept.stat().st_size == 4_000_000


def test_folder_of_the_networks_is_checked_and_not_made(url, tmp_path):
    check_artifact_folder(url)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "artifacts").touch()
    with pytest.raises(StudyError, match="artifacts, where the study's networks are to be kept, is no folder"):
        check_artifact_folder(url)


def test_unwritable_destination(study, storage, url, network, tmp_path):
    store = artifact_store(url)
    attach_network(study.ask(), storage, store, network)
    with pytest.raises(StudyError, match=r"cannot write .*; choose another place"):
        fetch_network(study, study.trials[0], store, network / "below-a-file")


def test_unwritable_store(tmp_path):
    (tmp_path / "artifacts").touch()
    with pytest.raises(StudyError, match="cannot create the folder of the study's networks"):
        artifact_store(f"sqlite:///{tmp_path}/x.db")


def test_first_baseline_stays(study, storage, url, network, tmp_path):
    store = artifact_store(url)
    destination = tmp_path / "baseline.safetensors"
    assert load_baseline(study, store, destination) is None
    record = save_baseline(study, storage, store, network, {"accuracy": 0.98, "macs": 1000})
    assert (record["accuracy"], record["macs"]) == (0.98, 1000)
    later = tmp_path / "later.safetensors"
    later.write_bytes(b"later")
    assert save_baseline(study, storage, store, later, {"accuracy": 0.5}) == record
    assert load_baseline(study, store, destination) == record
    assert destination.read_bytes() == network.read_bytes()


def test_missing_baseline_file(study, storage, url, network, tmp_path):
    store = artifact_store(url)
    artifact = save_baseline(study, storage, store, network, {})["network"]
    (tmp_path / "studies" / "artifacts" / artifact).unlink()
    with pytest.raises(
        StudyError, match=r"the baseline of 'digits' is missing.*start a new study with --set study.name"
    ):
        load_baseline(study, store, tmp_path / "out")
