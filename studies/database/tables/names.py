"""By what names programs know what the tables hold: a trial's and a study's values, in JSON types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of a trial.
RECIPE = "recipe"
HISTORY = "history"
ANSWERS = "answers"
NETWORK = "network"
CHECKSUM = "checksum"
# Group → channels that stay; of a trial with a recipe they are the recipe's. And those of the full network.
WIDTHS = "widths"
FULL_WIDTHS = "full_widths"
VERSIONS = "versions"
# Of an entry of the history: the mean α of each stage.
ALPHAS = "alphas"

# Of a study.
BASELINE = "baseline"
COPY = "copy"
# Of a baseline's record: the file of its outputs for the training images, that file's SHA-256, and what was spent on
# making it, in epochs of the baseline's training.
TAUGHT = "taught"
TAUGHT_CHECKSUM = "taught_checksum"
TAUGHT_COMPUTE = "taught_compute"
GROUPS = "groups"

# Attributes all the same: what people look for in optuna-dashboard, in a word or a number.
SHOWN = frozenset({NETWORK, "seed", "compute", "metric", "macs_share", "parameters_share", "latency_share"})

# Until tasks had other metrics, a trial's metric was called by the only one's name.
_EARLIER = {"metric": "accuracy", "folded_metric": "folded_accuracy"}


def with_metric(values: Mapping[str, Any]) -> dict[str, Any]:
    """A trial's attributes, an entry of its history or a baseline's record, by today's names."""
    later = {new: values[old] for new, old in _EARLIER.items() if old in values and new not in values}
    return {**values, **later}


def by_todays_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the earlier names."""
    return {key: value for key, value in with_metric(values).items() if key not in _EARLIER.values()}
