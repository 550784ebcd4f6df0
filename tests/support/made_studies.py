"""Studies of made-up trials, in memory, for whatever shows them; on the path of pytest alone."""

import math
import random
from datetime import datetime, timedelta

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from branchfold.search.space.courses import course_of
from branchfold.search.space.recipe import Recipe, Stages, Training
from branchfold.studies.database.answers import packed
from branchfold.studies.database.findings.groups import GroupRecord, record_groups
from branchfold.studies.database.findings.outcome import Judged, Outcome, record_outcome
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import parse_definition
from branchfold.studies.metric import ACCURACY
from branchfold.studies.tables.study import StudyView

GROUPS = {"first": 16, "second": 32, "third": 64}
REPORTS = 4
EXAMPLES = 200
SHAPES = ("instant", "linear", "step")


def made_study(trials=12, *, name="made", objectives=("accuracy",), groups=GROUPS, outcome=True, baseline=True):
    """A study whose trial i has (150 + i % 40) right of 200; every fifth was stopped early, every eleventh failed.

    Trial i of a shape in turn keeps the share 0.2 + 0.5 · i / trials of all groups, which is its share of the MACs.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = ["maximize" if objective == "accuracy" else "minimize" for objective in objectives]
    study = optuna.create_study(study_name=name, directions=directions)
    tables = {
        "study": {"name": "made", "objectives": list(objectives), "trials": max(trials, 1)},
        "model": {"factory": "vgg_digits"},
        "data": {"name": "digits"},
        "trial": {"epochs": REPORTS},
    }
    definition = parse_definition(tables)
    study.set_user_attr("definition", {**definition.to_dict()})
    study.set_user_attr("fingerprint", definition.fingerprint())
    study.set_user_attr("metric", ACCURACY.to_dict())
    if baseline:
        record = {"metric": 0.95, "interval": [0.91, 0.97], "examples": EXAMPLES, "macs": 10_000, "parameters": 1_000}
        study.set_user_attr("baseline", {**record, "source": "30 epochs"})
        records = [
            GroupRecord(group, width, (8 >> i, 8 >> i), 0.3, (0.3, 0.2 - 0.05 * i, 0.1))
            for i, (group, width) in enumerate(groups.items())
        ]
        record_groups(study, records)
    study.add_trials([_trial(number, trials, objectives, groups) for number in range(trials)])
    if outcome:
        record_outcome(study, made_outcome())
    return study


def made_outcome():
    """A delivery: 180 of 200 right where the baseline has 188 and the known recipe 150."""
    return Outcome(
        trial=1,
        finished=2,
        split="test",
        examples=200,
        network=Judged(0.9, (0.85, 0.93)),
        baseline=Judged(0.94, (0.9, 0.97)),
        known=Judged(0.75, (0.69, 0.8)),
        macs=1_500,
        full_macs=10_000,
        parameters=200,
        full_parameters=1_000,
        latency=0.5,
        full_latency=1.0,
        latency_share=0.5,
        latency_quartiles=(0.45, 0.55),
        latency_unsure=False,
        runtime="torch 2",
        file="made.safetensors",
        size=20_000,
        full_size=100_000,
        runs=(0.9, 0.91),
        among=3,
    )


def view_of(study):
    """It as tables and figures take it."""
    return StudyView(study, course_of)


def _trial(number, trials, objectives, groups):
    rng = random.Random(number)
    shape, share = SHAPES[number % len(SHAPES)], 0.2 + 0.5 * number / max(trials, 1)
    right = 150 + number % 40
    widths = {name: max(1, round(share * width)) for name, width in groups.items()}
    count = 1 if shape == "instant" else 1 + number % 2
    recipe = Recipe(
        shape=shape,
        parameters={"steps": 4} if shape == "step" else {},
        fade=0.0 if shape == "instant" else 0.5,
        widths=widths,
        training=Training(lr=rng.uniform(0.01, 0.1)),
        stages=Stages(count=count, sequence=tuple(groups)),
    )
    pruned, failed = number % 5 == 4, number % 11 == 10
    state = TrialState.FAIL if failed else TrialState.PRUNED if pruned else TrialState.COMPLETE
    metric = right / EXAMPLES
    history = [
        {
            "number": n,
            "compute": 0.5 * n,
            "alpha": max(0.0, 1 - n / 2) if shape != "instant" else 0.0,
            "metric": metric - 0.01,
            "folded_metric": metric - 0.05 * (REPORTS - n),
            **({"loss": math.exp(-n), "rate": 0.01} if n else {}),
        }
        for n in range(REPORTS + 1 if state == TrialState.COMPLETE else 3)
    ]
    attributes = {"recipe": recipe.to_dict(), "seed": number, "history": history, "versions": {"torch": "2"}}
    if failed:
        attributes["note"] = "out of memory"
    if state == TrialState.COMPLETE:
        scores = np.arange(EXAMPLES) < right
        measured = Measurement(metric, int(10_000 * share), share, int(1_000 * share), share, 0.5, 0.5 + share / 2, 0.1)
        attributes |= {**measured._asdict(), "answers": packed(scores.astype(float), ACCURACY), "network": f"{number}"}
    values = None
    if state == TrialState.COMPLETE:
        values = [metric if objective == "accuracy" else share for objective in objectives]
    found = create_trial(
        state=state,
        values=values,
        params={"schedule.shape": shape, "training.lr": recipe.training.lr, "keep": share},
        distributions={
            "schedule.shape": CategoricalDistribution(SHAPES),
            "training.lr": FloatDistribution(0.01, 0.1, log=True),
            "keep": FloatDistribution(0.1, 1.0),
        },
        intermediate_values={} if len(objectives) > 1 else {h["number"]: h["folded_metric"] for h in history},
        user_attrs=attributes,
    )
    found.datetime_start = datetime(2026, 1, 1) + timedelta(seconds=10 * number)
    found.datetime_complete = found.datetime_start + timedelta(seconds=8)
    return found
