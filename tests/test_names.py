"""Every option's name has its implementation, its documentation and its place; none of them exists without a name."""

import re
from pathlib import Path

import pytest

from branchfold import names
from branchfold.errors import StudyError
from branchfold.models.branches.modules import BLENDINGS
from branchfold.models.fitting.choice import CHOICES
from branchfold.models.fitting.initialisations import INITIALISATIONS
from branchfold.models.networks import REFERENCE_NETWORKS
from branchfold.search.console.taking_commands import export
from branchfold.search.data.augmentations import AUGMENTATIONS
from branchfold.search.data.folder.pictures import RESIZES
from branchfold.search.data.known.sources import SOURCES
from branchfold.search.exports.formats import FORMATS
from branchfold.search.run.samplers import PRUNERS, SAMPLERS
from branchfold.search.schedules import SHAPES, make_schedule, ordered, windows_for
from branchfold.search.space.known import RECIPES
from branchfold.search.tasks.distances import DISTANCES
from branchfold.search.tasks.table import TASKS
from branchfold.search.training.rates import RATES, restart_points
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import builtin_studies, load_definition
from branchfold.studies.metric import METRICS

ROOT = Path(names.__file__).parent
SETS = {key: value for key, value in vars(names).items() if key.isupper()}
# What implements the names of a set, by name.
REGISTRIES = {
    "AUGMENTATIONS": AUGMENTATIONS,
    "BLENDINGS": BLENDINGS,
    "CHOICES": CHOICES,
    "DATA_SETS": SOURCES,
    "DISTANCES": DISTANCES,
    "EXPORT_FORMATS": FORMATS,
    "INITIALISATIONS": INITIALISATIONS,
    "NETWORKS": REFERENCE_NETWORKS,
    "PRUNERS": PRUNERS,
    "RATES": RATES,
    "RECIPES": RECIPES,
    "RESIZES": RESIZES,
    "SAMPLERS": SAMPLERS,
    "SHAPES": SHAPES,
    "TASKS": TASKS,
}
# These name cases of one function, or fields.
CASES = {
    "COSTS",
    "KEEP_PER",
    "MEMORY_FORMATS",
    "METRICS",
    "NORMALISATIONS",
    "ORDERS",
    "PRECISIONS",
    "RESTARTS",
    "WINDOWS",
}
# Where a definition has them; a list where `[name]` stands.
KEYS = {
    "AUGMENTATIONS": "data.augment=NAME",
    "BLENDINGS": "space.blending.mode=NAME",
    "CHOICES": "space.initialisation.channels=NAME",
    "COSTS": 'study.objectives=["NAME"]',
    "DATA_SETS": "data.name=NAME",
    "DISTANCES": "space.training.distillation_loss=NAME",
    "INITIALISATIONS": "space.initialisation.method=NAME",
    "KEEP_PER": "space.keep.per=NAME",
    "MEMORY_FORMATS": "trial.memory_format=NAME",
    "METRICS": 'study.objectives=["NAME"]',
    "NETWORKS": "model.factory=NAME",
    "NORMALISATIONS": "data.normalisation=NAME",
    "ORDERS": "space.stages.order=NAME",
    "PRECISIONS": "space.training.precision=NAME",
    "PRUNERS": "search.pruner=NAME",
    "RATES": "space.training.rates=NAME",
    "RECIPES": 'search.recipes=["NAME"]',
    "RESIZES": "data.resize=NAME",
    "RESTARTS": "space.training.restarts=NAME",
    "SAMPLERS": "search.sampler=NAME",
    "SHAPES": "space.schedule.shape=NAME",
    "TASKS": "task.name=NAME",
    "WINDOWS": "space.stages.windows=NAME",
}
# What a key needs beside it.
BESIDE = {"RESIZES": ["data.name=folder"]}
PLACED = [(key, name) for key in KEYS for name in SETS[key]]


def test_each_set_is_looked_at_here():
    assert REGISTRIES.keys() | CASES == SETS.keys() == KEYS.keys() | {"EXPORT_FORMATS"}


@pytest.mark.parametrize("key", REGISTRIES)
def test_each_name_has_its_implementation_and_no_implementation_lacks_a_name(key):
    assert list(REGISTRIES[key]) == list(SETS[key])


def test_cases_are_told_apart():
    groups = ["a", "b", "c"]
    scores = {"a": 1.0, "b": 3.0, "c": 2.0}
    by_score = [order for order in names.ORDERS if order not in ("forward", "backward")]
    assert [ordered(groups, order, scores) for order in by_score] == [["b", "c", "a"]] * len(by_score)
    assert ordered(groups, "forward", scores) != ordered(groups, "backward", scores)
    windows = {key: windows_for(groups, count=1, fade=0.6, windows=key) for key in names.WINDOWS}
    assert len({tuple(found.values()) for found in windows.values()}) == len(names.WINDOWS)
    step = make_schedule("step", steps=4)
    points = {tuple(restart_points(kind, step, windows["own"].values())) for kind in names.RESTARTS}
    assert len(points) == len(names.RESTARTS)
    assert set(names.COSTS) <= set(Measurement._fields)
    assert [METRICS[task].name for task in names.TASKS] == [*names.METRICS][:-1]


@pytest.mark.parametrize(("key", "name"), PLACED)
def test_each_name_has_its_place_in_the_definition(key, name):
    texts = [KEYS[key].replace("NAME", name)]
    if key == "COSTS":
        texts = [f'study.objectives=["accuracy", "{name}"]']
    elif key == "METRICS":
        task = next((task for task, metric in METRICS.items() if metric.name == name), "task.py:Mine")
        texts.append(f"task.name={task}")
    elif key == "TASKS":
        texts.append(f'study.objectives=["{METRICS[name].name}"]')
    assert name in str(load_definition("digits", [*texts, *BESIDE.get(key, [])]).to_dict())


@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_name_is_refused_with_all_there_are(key):
    first = next(iter(SETS[key]))
    with pytest.raises(StudyError) as caught:
        load_definition("digits", [KEYS[key].replace("NAME", f"{first}x")])
    assert [name for name in SETS[key] if name not in str(caught.value)] == []
    assert f"did you mean {first}?" in str(caught.value)


def test_the_command_line_takes_the_formats_from_here():
    (forms,) = (option for option in export.params if option.name == "forms")
    assert list(forms.type.choices) == list(names.EXPORT_FORMATS)


def test_each_name_says_what_it_means_and_is_told_to_users():
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    texts = [file.read_text("utf-8") for file in files]
    texts += [(ROOT / "studies" / "builtin" / f"{name}.toml").read_text("utf-8") for name in builtin_studies()]
    told = "\n".join(texts)
    assert [name for options in SETS.values() for name, meaning in options.items() if len(meaning) < 5] == []
    unsaid = [name for options in SETS.values() for name in options if not re.search(rf"[\"`| ]{name}[\"`|,.; ]", told)]
    assert unsaid == []
