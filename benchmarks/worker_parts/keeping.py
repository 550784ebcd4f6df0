"""The share of a trial's time that its checkpoints take."""

import tempfile
import time
from pathlib import Path
from typing import Any

from branchfold.search.space import Recipe
from branchfold.search.space.recipe import Stages, Training
from branchfold.search.training.checkpoint import Checkpoint
from branchfold.search.trial.problem import Problem, new_network
from branchfold.search.trial.trial import run_trial


class _Over(Exception):  # noqa: N818  not an error
    pass


class Timed(Checkpoint):
    """A checkpoint that counts the seconds that it takes, and ends the trial after so many.

    Args:
        path: of its file.
        limit: seconds that the trial takes.
    """

    def __init__(self, path: Path, limit: float) -> None:
        super().__init__(path, {})
        self.began, self.limit, self.taken, self.count, self.size = time.monotonic(), limit, 0.0, 0, 0

    @property
    def is_due(self) -> bool:
        if time.monotonic() - self.began >= self.limit:
            raise _Over
        return super().is_due

    def save(self, state: dict[str, Any]) -> None:
        start = time.monotonic()
        super().save(state)
        self.taken += time.monotonic() - start
        self.count, self.size = self.count + 1, self.path.stat().st_size


def checkpoint_share(problem: Problem, seconds: float) -> dict[str, float]:
    """Of a trial that narrows every group to half of its width and takes so long."""
    widths = {group.name: -(-group.width // 2) for group in problem.costs.groups if group.prunable}
    narrowed = tuple(name for name, width in widths.items() if width)
    recipe = Recipe("linear", {}, 0.5, widths, Training(lr=0.02), Stages(sequence=narrowed))
    baseline = new_network(problem.definition).eval()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Timed(Path(folder) / "checkpoint", seconds)
        try:
            run_trial(recipe, baseline, problem, seed=0, on_report=lambda report: None, checkpoint=checkpoint)
        except _Over:
            pass
        else:
            raise SystemExit("the trial was over before its time")
        return {
            "seconds": time.monotonic() - checkpoint.began,
            "checkpoints": checkpoint.count,
            "checkpoints_s": checkpoint.taken,
            "mebibytes": checkpoint.size / 2**20,
            "share": checkpoint.taken / (time.monotonic() - checkpoint.began),
        }
