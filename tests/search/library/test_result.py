import sys
from types import SimpleNamespace

import pytest
import torch

from branchfold.errors import StudyError
from branchfold.models import load_network
from branchfold.search.exports import verification


def test_best_is_the_network_that_was_measured(ran, make):
    best = ran.result.best
    images, labels = make.data()["validation"].tensors
    with torch.no_grad():
        right = (best.network(images).argmax(1) == labels).float().mean()
    assert best.metric == pytest.approx(right.item())
    assert best.metric == max(trial.value for trial in ran.result.study.trials if trial.value is not None)
    assert best.recipe["widths"] == {"0": best.network[0].out_channels, "3": best.network[3].out_channels}
    assert best.network[0].out_channels < 8


def test_trials_are_dicts_without_pandas(ran, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    rows = ran.result.trials
    assert [row["number"] for row in rows if row["state"] == "complete"] == [0, 1]
    assert rows[0]["training.lr"] == ran.result.study.trials[0].params["training.lr"]
    assert rows[0]["macs_share"] <= 0.505


def test_trials_are_a_table_where_pandas_is(ran, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: ("table", rows)))
    kind, rows = ran.result.trials
    assert kind == "table"
    assert rows[1]["number"] == 1


def test_a_given_network_is_exported_and_verified_in_this_process(ran, make, tmp_path, quick_latency):
    delivery = ran.result.export(tmp_path / "files", ["safetensors", "state-dict"])
    assert [file.verified.difference for file in delivery.files] == [0.0, 0.0]
    assert delivery.evaluation.split == "test"
    loaded = load_network(delivery.files[0].path, factory=lambda: make.network(seed=5))
    images, labels = make.data()["test"].tensors
    with torch.no_grad():
        assert torch.equal(loaded.eval()(images), ran.result.best.network(images))
        right = (loaded(images).argmax(1) == labels).float().mean()
    assert delivery.evaluation.value == pytest.approx(right.item())


@pytest.mark.parametrize(
    ("factory", "apart", "here"),
    [
        ("given:1", ["onnx", "pt2"], ["safetensors"]),
        ("own.py:make", ["onnx", "safetensors", "pt2"], []),
        (None, ["onnx", "safetensors", "pt2"], []),
    ],
)
def test_tensors_alone_of_a_given_network_are_checked_in_this_process(factory, apart, here):
    files = [{"form": form} for form in ("onnx", "safetensors", "pt2")]
    found = verification._parted(files, factory)
    assert [[file["form"] for file in some] for some in found] == [apart, here]


def test_a_wrong_file_is_refused(ran, tmp_path):
    with pytest.raises(StudyError, match="has no trial 9"):
        ran.result.export(tmp_path / "x.safetensors", trial=9)
    with pytest.raises(StudyError, match="unknown format 'safetensor'"):
        ran.result.export(tmp_path / "x.safetensors", "safetensor")
    assert list(tmp_path.iterdir()) == []
