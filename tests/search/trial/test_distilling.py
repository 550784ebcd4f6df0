"""Which studies distil their trials where their definitions do not say it."""

import pytest
import torch

from branchfold.search.data.splits import ImageData, Split
from branchfold.search.trial.distilling import decided_line, settled
from branchfold.studies.definition.dimensions import Choices, Fixed


def images(count):
    splits = [Split(torch.zeros(n, 1, 8, 8, dtype=torch.uint8), torch.zeros(n).long(), "train") for n in (count, 5)]
    return ImageData("made", 10, (1, 8, 8), (0.5,), (0.2,), *splits)


LOGITS = torch.zeros(2, 10)
OFF, ON, AS_THEY_ARE = (0.0, True), (0.5, "flip"), (0.0, False)


def found(definition, data=None, outputs=LOGITS):
    training = settled(definition, images(500) if data is None else data, outputs).space.training
    assert isinstance(training.augment, Fixed)
    return (training.distillation.value, training.augment.value)


@pytest.mark.parametrize(
    ("count", "trial", "macs", "expected"),
    [
        (9_999, {"epochs": 2}, 0.1, ON),
        (10_000, {"epochs": 9}, 0.1, OFF),
        (10_000, {"epochs": 10}, 0.1, ON),
        (10_000, {"epochs": 1}, None, ON),
        (10_000, {"compute": 0.9, "epochs": None}, 0.1, OFF),
        (10_000, {"compute": 1.0, "epochs": None}, 0.1, ON),
        (9_999, {"compute": 0.1, "epochs": None}, 0.1, ON),
        (10_000, {"compute": 0.5, "epochs": None}, 0.1, OFF),
        (10_000, {"compute": 0.49, "epochs": None}, 0.1, AS_THEY_ARE),
        (10_000, {"epochs": 4}, 0.1, AS_THEY_ARE),
    ],
)
def test_trials_that_are_long_or_see_few_images_are_distilled_and_short_ones_shift_none(
    define, count, trial, macs, expected
):
    budget = {} if macs is None else {"macs": macs}
    assert found(define(study={"budget": budget}, trial=trial), images(count)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"space__training": {"distillation": 0.0}}, OFF),
        ({"space__training": {"distillation": 0.3}}, (0.3, True)),
        ({"space__training": {"augment": True}}, OFF),
        ({"space__training": {"augment": "none"}}, (0.5, "none")),
        ({"space__training": {"augment": "cut-out"}}, (0.0, "cut-out")),
        ({"data": {"augment": "none"}}, (0.5, True)),
        ({"data": {"augment": ["shift-flip", "cut-out"]}}, OFF),
        ({"space__training": {"augment": True}, "data": {"augment": "flip"}}, (0.5, True)),
    ],
    ids=str,
)
def test_what_is_said_stays_and_no_trial_needs_the_baseline_beside_it(define, changes, expected):
    assert found(define(**changes)) == expected


def test_what_is_searched_stays(define):
    training = settled(define(space__training={"distillation": [0.0, 0.5]}), images(500), LOGITS).space.training
    assert (training.distillation, training.augment) == (Choices((0.0, 0.5)), Fixed(True))
    searched = define(space__training={"augment": [True, False]})
    assert settled(searched, images(500), LOGITS).space.training.distillation == Fixed(0.0)
    searched = define(space__training={"augment": ["none", "flip"]})
    assert settled(searched, images(500), LOGITS).space.training.distillation == Fixed(0.5)


def test_only_classes_of_images_are(define):
    assert found(define(), outputs=torch.zeros(2, 10, 8, 8)) == OFF
    assert found(define(), outputs=(LOGITS,)) == OFF
    assert found(define(), data=object()) == OFF
    other = define(task={"name": "multilabel"}, study={"objectives": ["f1"]})
    assert found(other) == OFF


def test_short_trials_keep_what_is_said_and_what_other_tasks_need(define):
    short = {"compute": 0.1, "epochs": None}
    many, said = images(10_000), {"space__training": {"augment": True}}
    assert found(define(trial=short, **said), many) == OFF
    assert found(define(trial=short, data={"augment": ["shift-flip", "cut-out"]}), many) == OFF
    assert found(define(trial=short), many, torch.zeros(2, 10, 8, 8)) == OFF
    assert found(define(trial=short, task={"name": "multilabel"}, study={"objectives": ["f1"]}), many) == OFF


def test_is_told_where_the_rule_is_for_it(define):
    short = define(trial={"compute": 0.1, "epochs": None})
    told = "trials are short and train on images as they are (space.training.augment)"
    assert decided_line(short, settled(short, images(10_000), LOGITS)) == told
    given = define()
    assert decided_line(given, settled(given, images(500), LOGITS)) == (
        "trials learn from the baseline's outputs too, with weight 0.5, and their images are not shifted "
        "(space.training.distillation, space.training.augment)"
    )
    still = define(data={"augment": "none"})
    assert "shifted" not in decided_line(still, settled(still, images(500), LOGITS))
    for said in (define(space__training={"distillation": 0.5}), define(space__training={"augment": True})):
        assert decided_line(said, settled(said, images(500), LOGITS)) is None
