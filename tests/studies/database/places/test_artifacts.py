import hashlib
import resource

import optuna
import pytest

from branchfold.errors import StudyError
from branchfold.studies.database.places.artifacts import (
    attach_network,
    fetch_network,
    load_baseline,
    save_baseline,
    upload_network,
)
from branchfold.studies.database.places.store import artifact_folder, artifact_store, check_artifact_folder
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
    assert study.trials[0].user_attrs["network"] == artifact
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
    with pytest.raises(StudyError, match=f"missing: no artifact {artifact}; .*`branchfold delete digits --trial 0`"):
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
    record = save_baseline(study, storage, store, network, {"metric": 0.98, "macs": 1000})
    assert (record["metric"], record["macs"]) == (0.98, 1000)
    later = tmp_path / "later.safetensors"
    later.write_bytes(b"later")
    assert save_baseline(study, storage, store, later, {"metric": 0.5}) == record
    assert load_baseline(study, store, destination) == record
    assert destination.read_bytes() == network.read_bytes()


class TestBaseline:
    """Its file has a second copy."""

    @pytest.fixture
    def kept(self, study, storage, url, network):
        store = artifact_store(url)
        record = save_baseline(study, storage, store, network, {"metric": 0.5})
        return store, store.folder / record["network"], store.folder / record["copy"]

    def test_is_restored_when_it_is_thrown_away_or_damaged(self, study, storage, kept, network, tmp_path):
        store, file, copy = kept
        before, told = study.user_attrs["baseline"], []
        assert copy.read_bytes() == file.read_bytes() == network.read_bytes()
        for harm, what in ((file.unlink, "gone"), (lambda: file.write_bytes(b"x"), "damaged")):
            harm()
            # As optuna-dashboard takes an artifact off the list.
            storage.set_study_system_attr(study._study_id, f"artifacts:{file.name}", "null")
            assert load_baseline(study, store, tmp_path / "out", told.append) == before
            assert (tmp_path / "out").read_bytes() == file.read_bytes() == network.read_bytes()
            [meta] = optuna.artifacts.get_all_artifact_meta(study, storage=storage)
            assert (meta.artifact_id, meta.filename) == (file.name, "digits-baseline.safetensors")
            assert told.pop() == f"the baseline of 'digits' was restored from its second copy: its file was {what}"

    def test_has_a_new_second_copy_when_that_is_gone(self, study, kept, network, tmp_path):
        store, _, copy = kept
        copy.unlink()
        load_baseline(study, store, tmp_path / "out")
        assert copy.read_bytes() == network.read_bytes()

    def test_is_missing_or_damaged_when_both_are(self, study, kept, tmp_path):
        store, file, copy = kept
        copy.write_bytes(b"x")
        file.write_bytes(b"x")
        with pytest.raises(StudyError, match=r"the baseline of 'digits' is damaged: .*its SHA-256 differs"):
            load_baseline(study, store, tmp_path / "out")
        file.unlink()
        copy.unlink()
        with pytest.raises(StudyError, match=r"the baseline of 'digits' is missing.*new study with --set study.name"):
            load_baseline(study, store, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_of_an_earlier_version_gets_a_checksum_and_a_copy(self, study, storage, url, network, tmp_path):
        store = artifact_store(url)
        artifact = upload_network(study, storage, store, network)["network"]
        study.set_user_attr("baseline", {"accuracy": 0.5, "network": artifact})
        load_baseline(study, store, tmp_path / "out")
        record = study.user_attrs["baseline"]
        assert record["checksum"] == hashlib.sha256(network.read_bytes()).hexdigest()
        (store.folder / artifact).unlink()
        assert load_baseline(study, store, tmp_path / "out") == record


def test_a_network_that_was_changed_is_not_loaded(study, storage, url, network, tmp_path):
    store, trial = artifact_store(url), study.ask()
    artifact = attach_network(trial, storage, store, network)
    (store.folder / artifact).write_bytes(b"changed")
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(StudyError, match=r"the network of trial 0 of 'digits' is damaged: artifact .* differs"):
        fetch_network(study, study.trials[0], store, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"
