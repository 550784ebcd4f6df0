"""`branchfold init`: a study file for a network and its data."""

import contextlib
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from branchfold.models.networks.factories import build_network
from branchfold.search.trial import first_look
from branchfold.search.trial.first_look import bounds_of, with_classes, with_size
from branchfold.studies.definition.reading import load_definition


@pytest.fixture
def photos(tmp_path):
    """Two classes of grey images of 10 × 12 pixels, and the working directory."""
    draw = np.random.default_rng(0)
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(30):
            pixels = draw.integers(0, 100, (10, 12, 3), dtype=np.uint8) + 100 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    with contextlib.chdir(tmp_path):
        yield tmp_path


def test_the_file_is_a_study_of_this_network_and_these_images(branchfold, photos):
    network = build_network("resnet20", {"width": 0.25, "num_classes": 2})
    torch.save(network.state_dict(), "mine.pt")
    answer = branchfold("init", "resnet20", "--data", "photos", "--set", "width=0.25", "--checkpoint", "mine.pt")
    assert answer.status == 0, answer.err
    definition = load_definition("resnet20-photos.toml")
    assert definition.model.arguments == {"width": 0.25, "num_classes": 2}
    assert (definition.data.name, definition.data.size) == ("folder", [10, 10])
    assert definition.data.root == str(photos / "photos")
    assert definition.baseline.checkpoint == str(photos / "mine.pt")
    written = tomllib.loads((photos / "resnet20-photos.toml").read_text("utf-8"))
    assert written["data"]["root"] == "photos"
    bounds = written["space"]["keep"]["layers"]
    assert set(bounds) == {group for group in bounds if group.startswith(("conv", "layer"))} != set()
    assert all(0 < low < high <= 1 for low, high in bounds.values())
    assert "# baseline: " in (photos / "resnet20-photos.toml").read_text("utf-8")
    assert "next: branchfold run resnet20-photos.toml" in answer.out
    assert "photos is split here, 15 % for testing" in answer.out.replace("\n", " ")


def test_nothing_is_replaced_and_nothing_left_half_written(branchfold, photos):
    (photos / "resnet20-photos.toml").write_text("mine")
    assert "it is there" in branchfold("init", "resnet20", "--data", "photos").err
    for arguments, expected in (
        (("resnet20", "--data", "fotos"), "no folder 'fotos' (--data is a folder"),
        (("resnet20x", "--data", "photos"), "did you mean resnet20?"),
        (("resnet20", "--data", "photos", "--set", "num_classes=7"), "set model.num_classes = 2"),
        (("resnet20", "--data", "photos", "--set", "model.num_classes=7"), "set model.num_classes = 2"),
        (("resnet20", "--data", "photos", "--checkpoint", "no.pt"), "there is no checkpoint"),
        (("resnet20", "--data", "photos", "--checkpoint", "a", "--weights", "b"), "and not both"),
        (("resnet20", "--data", "photos", "--weights", "DEFAULT"), "published weights are those of"),
    ):
        answer = branchfold("init", *arguments, "--output", "new.toml")
        assert answer.status == 2
        assert expected in answer.err
        assert answer.err.count("\n") == 1
    assert sorted(path.name for path in photos.iterdir()) == ["photos", "resnet20-photos.toml"]


def test_size_is_the_networks_but_no_more_than_the_images_have(photos):
    data = {"name": "folder", "root": "photos"}
    assert with_size({"factory": "resnet20"}, data)["size"] == 10
    assert with_size({"factory": "vgg_digits"}, data)["size"] == 8
    assert with_size({"factory": "resnet20"}, {**data, "size": 5})["size"] == 5


@pytest.mark.parametrize(
    ("factory", "added"),
    [
        ("resnet20", {"num_classes": 2}),
        ("torchvision:resnet18", {"num_classes": 2}),
        ("timm:test_byobnet", {"num_classes": 2, "in_chans": 1}),
    ],
)
def test_classes_and_channels_are_what_the_data_have(photos, factory, added):
    data = {"name": "folder", "root": "photos", "size": 8, "greyscale": "in_chans" in added}
    assert with_classes({"factory": factory}, data) == {"factory": factory, **added}
    assert with_classes({"factory": factory, "num_classes": 9}, data)["num_classes"] == 9


def test_bounds_are_what_the_errors_say_and_leave_room_below_the_budget(problem, baseline, monkeypatch):
    curves = {
        group.name: torch.linspace(1, 0, group.width + 1) ** 2 for group in problem.costs.groups if group.prunable
    }
    monkeypatch.setattr(first_look, "sensitivity", lambda *args: curves)
    monkeypatch.setattr(first_look, "_within", lambda bounds, costs, budget: bounds)
    # (1 − s)² is 0.3 at s = 0.45, and 0.003 at 0.945: in twentieths 0.45 and 0.95.
    for low, high in bounds_of(baseline, problem).values():
        assert low == pytest.approx(0.45, abs=0.08)
        assert high == pytest.approx(0.95, abs=0.08)
    monkeypatch.undo()
    monkeypatch.setattr(first_look, "sensitivity", lambda *args: curves)
    bounds, budget = bounds_of(baseline, problem), problem.definition.study.budget.macs
    widths = {group.name: group.width for group in problem.costs.groups}
    least = {name: int(low * widths[name]) for name, (low, _) in bounds.items()}
    assert problem.costs.cost(least).macs <= budget * problem.costs.full.macs
