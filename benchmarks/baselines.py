"""The baseline of a benchmark: trained once, kept in a file, and gone on with where its training was stopped."""

import json
from dataclasses import replace
from pathlib import Path

from torch import nn

from branchfold.models.checkpoints import load_network
from branchfold.search.training.arithmetic import ARITHMETIC, Arithmetic
from branchfold.search.training.checkpoint import Checkpoint
from branchfold.search.trial.baseline import make_baseline
from branchfold.search.trial.problem import Problem


def kept_baseline(problem: Problem, path: Path) -> tuple[nn.Module, Problem]:
    """The baseline in evaluation mode, trained or read now unless it is there, and the problem as it trains with it.

    Args:
        problem: the study's.
        path: of the baseline's file; what is known of it lies beside.
    """
    record = path.with_suffix(".json")
    if not record.exists():
        checkpoint = Checkpoint(path.with_suffix(".ckpt"), {"baseline": problem.definition.study.seed})
        made = make_baseline(problem, path, lambda event: print(event, flush=True), checkpoint)
        record.write_text(json.dumps(made))
    arithmetic = Arithmetic(**json.loads(record.read_text())[ARITHMETIC])
    return load_network(path).eval(), replace(problem, arithmetic=arithmetic)
