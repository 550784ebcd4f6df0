"""A new schedule, sampler, initialisation, data set and export format: an implementation and a name each, no more."""

from pathlib import Path

import optuna
import torch

from branchfold import names
from branchfold.models import add_branches, fold
from branchfold.models.fitting import initialisations
from branchfold.search.console import handover
from branchfold.search.data.known import sources
from branchfold.search.data.known.source import Source
from branchfold.search.exports import formats
from branchfold.search.exports.files.package import runs
from branchfold.search.run import samplers
from branchfold.search.schedules import shapes


class Stripes(Source):
    """Images of one bright row or column each, which says their class."""

    def _read(self, root, part):
        count = {"train": 400, "test": 100}[part]
        labels = torch.arange(count) % 10
        images = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
        for image, label in zip(images, labels.tolist(), strict=True):
            if label < 8:
                image[0, label] = 255
            else:
                image[0, :, label - 8] = 255
        return images, labels


class Careful(optuna.samplers.RandomSampler):
    """Random, and counts what it is asked."""

    asked = 0

    def sample_independent(self, *args):
        Careful.asked += 1
        return super().sample_independent(*args)


def initialise_evenly(branched, analysis, batches, choice):
    """Every narrow channel is the mean of all, every wide one that of the narrow ones."""
    with torch.no_grad():
        for parameter in (*branched.compress.parameters(), *branched.blend.parameters()):
            parameter.fill_(1 / parameter.shape[-1] if parameter.dim() == 2 else 0.0)


def write_count(package, path):
    """The number of parameters, and all there is to load the network again."""
    count = sum(p.numel() for p in package.network.parameters())
    with path.open("wb") as file:
        torch.save((f"{package.description.factory} {count}", package.network), file)


def read_count(path, content, factory):
    return runs(torch.load(path, weights_only=False)[1])


def enter(monkeypatch, options, registry, name, implementation):
    monkeypatch.setitem(options, name, "made for a test")
    monkeypatch.setitem(registry, name, implementation)


def test_they_are_found_by_a_study(study_run, monkeypatch, tmp_path, define):
    enter(monkeypatch, names.DATA_SETS, sources.SOURCES, "stripes", Stripes("stripes", 10, (1, 8, 8)))
    enter(monkeypatch, names.SHAPES, shapes.SHAPES, "half", shapes.Shape(lambda t: 0.5 * (1 - t)))
    enter(monkeypatch, names.SAMPLERS, samplers.SAMPLERS, "careful", lambda definition, space, seed: Careful(seed))
    even = initialisations.Initialisation(initialise_evenly, channels=None)
    enter(monkeypatch, names.INITIALISATIONS, initialisations.INITIALISATIONS, "even", even)
    enter(
        monkeypatch,
        names.EXPORT_FORMATS,
        formats.FORMATS,
        "count",
        formats.Format("txt", write_count, read_count, lambda path: None),
    )

    changes = {
        "study": {"trials": 1},
        "data": {"name": "stripes", "limit": 320},
        "space__schedule": {"shape": "half"},
        "space__initialisation": {"method": "even"},
        "search": {"sampler": "careful"},
    }
    study, url, _ = study_run(**changes)
    (trial,) = study.trials
    assert Careful.asked == len(trial.params) > 0
    recipe = trial.user_attrs["recipe"]
    assert (recipe["shape"], recipe["method"], recipe["parameters"]) == ("half", "even", {})
    # α of the trial's reports is that of the shape: at most one half, and falling.
    alphas = [report["alpha"] for report in trial.user_attrs["history"][1:]]
    assert all(alpha <= 0.5 for alpha in alphas)
    path = Path(tmp_path / "net.txt")
    told = handover.write_trial(study, define(**changes), url, 0, ["count"], path)
    assert "on stripes's test split (100 examples" in told
    assert torch.load(path, weights_only=False)[0] == f"vgg_digits {trial.user_attrs['parameters']}"


def test_an_initialisation_is_found_by_add_branches(monkeypatch):
    even = initialisations.Initialisation(initialise_evenly, channels=None)
    enter(monkeypatch, names.INITIALISATIONS, initialisations.INITIALISATIONS, "even", even)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    small = fold(add_branches(network, torch.zeros(2, 3), keep=0.5, init="even"))
    torch.testing.assert_close(small[0].weight, network[0].weight.mean(0).expand(2, 3))
