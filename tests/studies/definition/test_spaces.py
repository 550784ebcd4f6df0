import json

import pytest

from branchfold.errors import StudyError
from branchfold.studies.definition.dimensions import Choices, Fixed, Range
from branchfold.studies.definition.reading import load_definition, parse_definition
from branchfold.studies.definition.spaces import Space


def space(*overrides):
    return load_definition("digits", overrides).space


def refused(*overrides):
    with pytest.raises(StudyError) as caught:
        load_definition("digits", overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_schedules_name_alone_is_that_shape_with_its_defaults():
    schedule = space('space.schedule="cosine"').schedule
    assert schedule.shape == Fixed("cosine")
    assert schedule.fade == Fixed(0.5)
    assert schedule.defaults is True
    assert space('space.schedule.shape="cosine"').schedule.defaults is False


def test_a_number_alone_is_every_groups_share():
    keep = space("space.keep=0.34").keep
    assert (keep.per, keep.range) == ("network", Fixed(0.34))
    assert space("space.keep=1").keep.range == Fixed(1)


@pytest.mark.parametrize(
    "overrides",
    [
        ['space.schedule="cosine"'],
        ["space.keep=0.34"],
        ['space.keep.layers."features.0"=[0.5, 1.0]', 'space.keep.layers."features.3"=1.0'],
        ["space.schedule.step.steps={low=2, high=5}", "space.stages.count={low=1, high=4}"],
        ["trial.compute=2.5"],
    ],
    ids=str,
)
def test_short_forms_survive_json(overrides):
    definition = load_definition("digits", overrides)
    again = parse_definition(json.loads(json.dumps(definition.to_dict())))
    assert again == definition
    assert again.fingerprint() == definition.fingerprint()


def test_bounds_of_layers():
    layers = space(
        'space.keep.layers."features.0"=[0.5, 1.0]', 'space.keep.layers."features.3"=0.25', "space.keep.multiple=8"
    ).keep.layers
    assert layers == {"features.0": (0.5, 1.0), "features.3": (0.25, 0.25)}


def test_defaults_of_what_is_searched():
    found = Space()
    assert found.blending.mode == Choices(("convex", "probability", "uniform"))
    assert found.training.restarts == Choices(("none", "stages"))
    assert found.stages.count == Fixed(1)
    assert found.keep.threshold == Range(0.003, 0.3, log=True)
    assert found.keep.multiple == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("space.keep=1.5", "space.keep.range must be > 0 and <= 1, but got 1.5"),
        ("space.keep=true", "space.keep must be a table, but got true"),
        ("space.keep.multiple=0", "space.keep.multiple must be greater than or equal to 1, but got 0"),
        ('space.keep.layers."features.0"=[0.5]', "must be a share of the channels, or [lowest, highest]"),
        ('space.keep.layers."features.0"=[0.9, 0.5]', "must have 0 < lowest <= highest <= 1, but got [0.9, 0.5]"),
        ('space.keep.layers."features.0"=0', "must have 0 < lowest <= highest <= 1, but got 0"),
        ('space.keep.layers."features.0"=true', "must be a share of the channels"),
        ("space.keep.threshold=0", "space.keep.threshold must be > 0 and <= 1, but got 0"),
        ("space.keep.strength=-1", "space.keep.strength must be >= 0, but got -1"),
        ("space.keep.tilt=up", 'space.keep.tilt must be a number, but got "up"'),
        ("space.schedule=3", "space.schedule must be a table, but got 3"),
        ("space.stages.count=0", "space.stages.count must be >= 1, but got 0"),
        ("space.stages.count=1.5", "space.stages.count must be a whole number, a list or a range of them"),
        ("space.stages.count={low=1.0, high=2.5}", "must be a whole number, a list or a range of them"),
        (
            "space.stages.order=random",
            'one or a list of "forward", "backward", "sensitivity", "cost", "scores"',
        ),
        ("space.stages.overlap=1.1", "space.stages.overlap must be >= 0 and <= 1, but got 1.1"),
        ("space.stages.windows=mine", 'must be one or a list of "shared", "own"'),
        ("space.stages.hold=-0.1", "space.stages.hold must be >= 0 and <= 1"),
        ("space.blending.mode=mixup", 'must be one or a list of "convex", "probability", "uniform"'),
        ("space.blending.zero_loss=2", "space.blending.zero_loss must be >= 0 and <= 1, but got 2"),
        ("space.training.rates=step", 'must be one or a list of "one-cycle", "cosine", "linear"'),
        ("space.training.restarts=yes", 'must be one or a list of "none", "stages", "alpha"'),
        ("space.training.distillation=1.1", 'space.training.distillation must be "auto" or >= 0 and <= 1'),
        ("space.training.temperature=0", "space.training.temperature must be > 0, but got 0"),
        ("space.training.label_smoothing=1.0", "space.training.label_smoothing must be >= 0 and <= 0.9"),
        ("space.training.precision=float16", 'must be one or a list of "auto", "float32", "bfloat16"'),
        ("trial.compute=0", "trial.compute must be greater than 0, but got 0"),
        ("screening.candidates=-1", "screening.candidates must be greater than or equal to 0"),
        (
            'search.recipes=["mine"]',
            'search.recipes[0] must be one of "fold-at-once", "taught", "probability", "report", but got',
        ),
        (
            "search.sampler=cmaes",
            '"cma-es", "nsga2", "nsga3", "random", "grid", but got "cmaes"; did you mean cma-es?',
        ),
    ],
)
def test_mistakes_are_told_in_one_line(override, expected):
    message = refused(override)
    assert message.startswith(f"--set {override}: ")
    assert expected in message


class TestLength:
    def test_compute_takes_the_place_of_epochs(self):
        trial = load_definition("digits", ["trial.compute=2.5"]).trial
        assert (trial.epochs, trial.compute) == (None, 2.5)
        trial = load_definition("digits", ["trial.compute=2.5", "trial.epochs=3"]).trial
        assert (trial.epochs, trial.compute) == (3, None)

    @pytest.mark.parametrize(("compute", "reports"), [(0.5, 5), (5.4, 5), (7.6, 8), (40, 40)])
    def test_reports_come_every_epochs_worth_but_five_times_at_least(self, compute, reports):
        assert load_definition("digits", [f"trial.compute={compute}"]).trial.reports == reports

    def test_one_report_an_epoch(self):
        assert load_definition("digits", ["trial.epochs=3"]).trial.reports == 3
