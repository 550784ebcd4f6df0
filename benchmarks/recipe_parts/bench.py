"""One setting of the comparison: its baseline, the widths of the rows made by hand, and the study that searches."""

import argparse
import json
import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from torch import nn

from branchfold.benchmarks.baselines import kept_baseline
from branchfold.models.branches.keep import rounded_width
from branchfold.search.space import SearchSpace
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import Definition, load_definition

# What the study searches; the rest is the definition's.
SPACE = (
    'space.schedule.shape=["instant", "linear", "knee"]',
    "space.schedule.fade={low=0.05, high=0.5}",
    'space.blending.mode=["probability", "uniform", "convex"]',
    "space.stages.count={low=1, high=2}",
    'space.initialisation.method=["least-squares", "selection"]',
    "space.training.lr={low=0.01, high=0.1, log=true}",
    'space.training.augment=[false, "flip", true]',
    "space.training.distillation=[0.0, 0.5]",
)


class Setting(NamedTuple):
    """What a pruned network may cost.

    Attributes:
        of: "channels", of every layer alike, or "macs".
        percent: of the baseline's.
    """

    of: str
    percent: float

    @classmethod
    def parse(cls, text: str) -> "Setting":
        """A setting by its name, `channels34` or `macs21.4`.

        Raises:
            argparse.ArgumentTypeError: if it is none.
        """
        found = re.fullmatch(r"(channels|macs)(\d+(?:\.\d+)?)", text)
        if found is None or not 0 < float(found[2]) <= 100:
            raise argparse.ArgumentTypeError(f"must be channelsNN or macsNN with a per cent, but is {text!r}")
        return cls(found[1], float(found[2]))

    def __str__(self) -> str:
        return f"{self.of}{self.percent:g}"


class Bench:
    """One setting: the baseline, the widths of the hand-made rows, and the study's definition.

    Args:
        options: of the command line.
        setting: what the networks may cost.
    """

    def __init__(self, options: argparse.Namespace, setting: Setting) -> None:
        self.options, self.setting = options, setting
        common = [*options.set, f"data.root={json.dumps(options.data_root)}", f"trial.compute={options.compute}"]
        given = [f"baseline.checkpoint={json.dumps(str(options.baseline))}"] if options.baseline else []
        self._problem = Problem.of(load_definition(options.study, [*common, *given]))
        groups = [group for group in self._problem.costs.groups if group.prunable]
        share = setting.percent / 100
        if setting.of == "channels":
            self.widths = {
                group.name: rounded_width(share * group.width, group.width, group.blocks) for group in groups
            }
        else:
            budget = self._definition([*common, *given], share)
            space = SearchSpace(budget, self._problem.costs, errors=dict)
            self.widths = space.widths(dict.fromkeys(space.full, 1.0))
        self.share = self._problem.costs.cost(self.widths).macs / self._problem.costs.full.macs
        self._common = common

    @property
    def baseline(self) -> nn.Module:
        """The network that all rows prune, in evaluation mode; one object, which nobody changes."""
        return self._kept[0]

    @property
    def plain(self) -> Problem:
        """Data, costs and arithmetic of the rows made by hand."""
        return self._kept[1]

    @cached_property
    def definition(self) -> Definition:
        """The study's; it trains in the arithmetic of the other rows."""
        arithmetic = self.plain.arithmetic
        as_others = [
            f"baseline.checkpoint={json.dumps(str(self._baseline_file.absolute()))}",
            f"trial.precision={arithmetic.precision}",
            f"trial.memory_format={arithmetic.memory_format}",
        ]
        return self._definition([*self._common, *SPACE, *as_others], self.share)

    @property
    def storage(self) -> str:
        """The study's database."""
        return f"sqlite:///{Path(self.options.work).absolute()}/recipes.db"

    @cached_property
    def _kept(self) -> tuple[nn.Module, Problem]:
        return kept_baseline(self._problem, self._baseline_file)

    @property
    def _baseline_file(self) -> Path:
        return Path(self.options.work) / "baseline.safetensors"

    def _definition(self, overrides: list[str], share: float) -> Definition:
        study = [
            f"study.name={self.setting}",
            f"study.budget={{macs = {share}}}",
            f"study.trials={self.options.trials}",
        ]
        screening = f"screening.candidates={self.options.candidates}"
        return load_definition(self.options.study, [*overrides, *study, screening])
