"""A definition as a commented TOML file, for a user to go on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def study_text(tables: Mapping[str, Mapping[str, Any]], bounds: Mapping[str, tuple[float, float]], told: str) -> str:
    """The text of a study file.

    Args:
        tables: of the definition: `study`, `model`, `data`, `baseline` and `trial`.
        bounds: group → least and greatest share of its channels; empty where one range is to serve all.
        told: lines about the network and its data for the top, without their "#".
    """
    study, trial = tables["study"], tables["trial"]
    lines = [f"# {line}" for line in told.splitlines()]
    lines += [
        "# What each key allows: docs/studies.md; every other key has its default.",
        "",
        "[study]",
        _key("name", study["name"]),
        'objectives = ["accuracy"]       # maximised; "macs", "parameters" or "latency" may be added and are minimised',
        _key("budget", study["budget"], "largest share of the baseline's cost; parameters = … or latency = … likewise"),
        _key("trials", study["trials"]),
        "seed = 0",
        "",
        "[model]",
        *(_key(*item) for item in tables["model"].items()),
        "",
        "[data]",
        *(_key(*item) for item in tables["data"].items()),
        *_hints("data", tables["data"]),
        "",
        "[baseline]",
        *(_key(*item) for item in tables["baseline"].items()),
        *_hints("baseline", tables["baseline"]),
        "",
        "[trial]",
        _key("epochs", trial["epochs"], "or: compute = 2.0, in epochs of the baseline's training MACs"),
        _key("batch_size", trial["batch_size"]),
        "",
        "# In [space.*] a value is fixed (a plain value), a list of choices, or a range { low, high, log, step }.",
        "[space.schedule]",
        'shape = ["instant", "linear", "cosine", "knee"]',
        "fade = { low = 0.1, high = 0.8 }    # share of the trial after which α is 0",
        "",
        "[space.keep]",
        *_keep(bounds),
        "",
        "[space.training]",
        "lr = { low = 0.003, high = 0.1, log = true }",
        '# distillation = [0.0, 0.5]         # weight of the baseline\'s logits in the loss; "auto" unless it is said',
        "",
        "[screening]",
        "candidates = 30                     # widths judged untrained before the first trial, 0 for none",
        "",
        "[search]",
        'sampler = "tpe"',
        "finalists = 3                       # of the best recipes, trained again on new seeds before one is exported",
    ]
    return "\n".join(lines) + "\n"


def toml_text(tables: Mapping[str, Any]) -> str:
    """A whole definition as TOML; keys without a value are left out.

    Args:
        tables: that `Definition.to_dict` gave.
    """
    sections: dict[str, Mapping[str, Any]] = {}
    for name, table in tables.items():
        if name == "space":
            sections |= {f"space.{key}": value for key, value in table.items()}
        else:
            sections[name] = table
    texts = []
    for name, table in sections.items():
        kept = {key: _without_empty(value) for key, value in table.items()}
        lines = [_key(key, value) for key, value in kept.items() if value not in (None, {})]
        texts.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(texts) + "\n"


def _without_empty(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: item for key, item in value.items() if item is not None}
    return value


def toml_value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_name(key)} = {toml_value(item)}' for key, item in value.items())} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str, value: Any, comment: str = "") -> str:
    line = f"{_name(name)} = {toml_value(value)}"
    return f"{line:<35} # {comment}" if comment else line


def _name(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _keep(bounds: Mapping[str, tuple[float, float]]) -> list[str]:
    if not bounds:
        return [
            'per = "layer"                       # or "network", "resolution", "sensitivity"',
            "range = { low = 0.1, high = 1.0 }   # of the channels",
            "multiple = 1                        # 8 suits many CPUs",
        ]
    return [
        'per = "layer"',
        "multiple = 1                        # 8 suits many CPUs",
        "# Bounds of each group, by what its readers lose without the other channels: 30 % and 0.3 %.",
        *(f"layers.{json.dumps(name)} = {toml_value(pair)}" for name, pair in bounds.items()),
    ]


def _hints(table: str, keys: Mapping[str, Any]) -> list[str]:
    """Keys that a user may want next, as comments; data of the user's own are augmented and normalised there."""
    if ":" in str(keys.get("name", "")):
        return []
    hints = {
        "data": {
            "augment": 'augment = "shift-flip"         # or "none", "random-resized-crop", "cut-out", "trivial"',
            "normalisation": 'normalisation = "measured"      # or "weights", "none", { mean = [...], std = [...] }',
            "limit": "limit = 10000                   # use only so many training examples",
        },
        "baseline": {
            "epochs": "epochs = 30                     # trains the network, from weights where they are given",
            "checkpoint": 'checkpoint = "mine.pt"          # weights that you have trained',
            "weights": 'weights = "DEFAULT"             # published ones, of torchvision:NAME and timm:NAME',
        },
    }[table]
    return [f"# {line}" for key, line in hints.items() if key not in keys]
