"""Tables of measurements, from the JSON files that the scripts in benchmarks/ wrote."""

import json
import statistics
from pathlib import Path
from typing import Any

from branchfold.benchmarks.zoo_parts.tables import is_accepted, is_wrong, removed

_RESULTS = Path(__file__).resolve().parents[2] / "benchmarks"
# The rows of recipes-*.json as a reader knows them, worst first.
RECIPES = {
    "report": "the report's: random branches, α = 0.9 … 0",
    "scratch": "the small network from scratch",
    "probability": "least squares, blended by probability over 30 % of the compute",
    "fold-at-once": "least squares, folded at once, fine-tuned",
    "torch-pruning-group-norm": "Torch-Pruning, group norm, fine-tuned",
    "torch-pruning-l1": "Torch-Pruning, L1, fine-tuned",
    "searched": "best of the study",
}
SETTINGS = ("channels34", "macs50")
_ENGINES = ("engine-vgg16", "engine-vgg16-quarter")


def read(name: str) -> dict[str, Any]:
    """The result `benchmarks/NAME.json`."""
    result: dict[str, Any] = json.loads((_RESULTS / f"{name}.json").read_text("utf-8"))
    return result


def setting(name: str) -> dict[str, Any]:
    """The measurements of `benchmarks/recipes-NAME.json`."""
    found: dict[str, Any] = read(f"recipes-{name}")["settings"][name]
    return found


def found() -> list[str]:
    """What the search found beside what a person does by hand, in five rows."""
    rows = setting("channels34")["rows"]
    chosen = ("report", "scratch", "torch-pruning-l1", "fold-at-once", "searched")
    lines = [f"| {RECIPES[name]} | {_mean(rows[name])} | {_parameters(rows[name])} |" for name in chosen]
    return ["| recipe | test accuracy | parameters |", "| --- | --- | --- |", *lines]


def recipes() -> list[str]:
    """All recipes at both budgets."""
    columns = [setting(name)["rows"] for name in SETTINGS]
    heads = [f"{setting(name)['macs_share']:.1%} of the MACs".replace("%", " %") for name in SETTINGS]
    lines = [
        f"| {label} | " + " | ".join(f"{_mean(rows[name])} | {_parameters(rows[name])}" for rows in columns) + " |"
        for name, label in RECIPES.items()
    ]
    head = " | ".join(f"{head} | parameters" for head in heads)
    return [f"| recipe | {head} |", "| --- |" + " --- |" * (2 * len(heads)), *lines]


def engine() -> list[str]:
    """What branches cost beside a plain network, at full width and at a quarter of it."""
    results = [read(name) for name in _ENGINES]
    rows = {
        "branches added at random / fitted to data": lambda r: (
            f"{r['add_branches_random_s']:.2f} s / {r['add_branches_least_squares_s']:.1f} s"
        ),
        "folded": lambda r: f"{r['fold_s']:.2f} s",
        "branched step over plain step at α = 0.5 (quartiles)": lambda r: _quartiles(r["step"]),
        "the same in MACs": lambda r: f"{r['step_macs_ratio']:.3f}",
        "overhead over MACs ratio; target at most 1.25": lambda r: f"{r['step_overhead_per_macs']:.2f}",
        "folded latency over a directly built network's, batch 1 / 64": lambda r: _latency(r, "folded_over_direct", 3),
        "original latency over folded latency, batch 1 / 64": lambda r: _latency(r, "original_over_folded", 1),
    }
    lines = [f"| {label} | " + " | ".join(cell(result) for result in results) + " |" for label, cell in rows.items()]
    return ["| | full width | a quarter of it |", "| --- | --- | --- |", *lines]


def architectures() -> list[str]:
    """Seconds and memory beside Torch-Pruning, a row for each network."""
    lines = []
    for name, found in read("architectures")["networks"].items():
        ours, drawn, theirs = found["branchfold_selection"], found["branchfold"], found["torch_pruning"]
        chosen, random = found["ratios"]["branchfold_selection"], found["ratios"]["branchfold"]
        lines.append(
            f"| {name} | {drawn['graph_s']:.2f} ({theirs['graph_s']:.2f}) | {ours['branch_s']:.2f} + "
            f"{ours['fold_s']:.2f} | {drawn['branch_s']:.2f} + {drawn['fold_s']:.2f} | {theirs['graph_s']:.2f} + "
            f"{theirs['prune_s']:.2f} | {chosen['total_s']:.2f} / {random['total_s']:.2f} | "
            f"{chosen['peak_mb']:.2f} / {random['peak_mb']:.2f} |"
        )
    head = (
        "| network | groups found, s (Torch-Pruning's graph) | selection: branched + folded, s | random: branched + "
        "folded, s | Torch-Pruning: graph + pruned, s | ratio of totals, selection / random | peak memory, likewise |"
    )
    return [head, "| --- |" + " --- |" * 6, *lines]


def depth() -> list[str]:
    """Milliseconds a block of residual chains, by how many blocks they have."""
    found = read("architectures")["milliseconds_a_block"]
    ours, theirs = found["branchfold"], found["torch_pruning"]
    blocks = list(ours)
    rows = {
        "groups found (Torch-Pruning's graph)": [f"{ours[n]['graph']:.1f} ({theirs[n]['graph']:.1f})" for n in blocks],
        "branched at random": [f"{ours[n]['branch']:.1f}" for n in blocks],
        "folded (pruned)": [f"{ours[n]['fold']:.1f} ({theirs[n]['prune']:.1f})" for n in blocks],
    }
    lines = [f"| {label} | {' | '.join(cells)} |" for label, cells in rows.items()]
    return [f"| | {' | '.join(blocks)} |", "| --- |" + " --- |" * len(blocks), *lines]


def service() -> list[str]:
    """Seconds of a trial that trains nothing, beside Optuna alone."""
    lines = [
        f"| {int(count):,} | {found['service_s']:.3f} s | {found['optuna_s']:.3f} s | {found['ratio']:.2f} | "
        f"{found['share_of_a_minute']:.2%} |".replace("%", " %")
        for count, found in read("search")["finished_trials"].items()
    ]
    head = "| finished trials | service | Optuna alone | ratio; target at most 1.2 | of a one-minute trial |"
    return [head, "| --- |" + " --- |" * 4, *lines]


def streams() -> list[str]:
    """Untrained losses of three networks with every group cut to half, by how the branches begin."""
    columns = ("least squares", "least squares, channels by L1", "selection, channels by L1")
    lines = []
    for name, found in read("streams")["networks"].items():
        losses = " | ".join(f"{found['half'][column]['loss']:.3f}" for column in columns)
        lines.append(
            f"| {name} | {found['parameters']:,} | {found['epochs']} | {found['whole']['loss']:.3f} | {losses} | "
            f"{found['macs_kept']:.0%} |".replace("%", " %")
        )
    head = f"| network | weights | epochs | whole | {' | '.join(columns)} | MACs kept |"
    return [head, "| --- |" + " --- |" * 7, *lines]


def zoo() -> list[str]:
    """What both tools did to networks that nobody chose, a row for each family."""
    rows = list(read("zoo")["networks"].values())
    lines = []
    for family in dict.fromkeys(row["family"] for row in rows):
        ours = [row["branchfold"] for row in rows if row["family"] == family]
        both = [row for row in rows if row["family"] == family and "torch-pruning" in row]
        theirs = [row["torch-pruning"] for row in both]
        shared = [row for row in both if is_accepted(row["branchfold"]) and is_accepted(row["torch-pruning"])]
        cells = (
            family,
            str(len(ours)),
            str(sum(map(is_accepted, ours))),
            str(sum(map(is_wrong, ours))),
            _removed(ours),
            f"{sum(map(is_accepted, theirs))} of {len(theirs)}",
            _removed(theirs),
            str(len(shared)),
            *(_removed([row[tool] for row in shared]) for tool in ("branchfold", "torch-pruning")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    head = (
        "| family | networks | accepted | over the tolerance | MACs removed | Torch-Pruning: accepted | MACs removed | "
        "both accept | MACs removed there | Torch-Pruning there |"
    )
    return [head, "| --- |" + " --- |" * 9, *lines]


def _removed(rows: list[dict[str, Any]]) -> str:
    return f"{100 * statistics.mean(map(removed, rows)):.1f} %" if rows else "–"


def deployed() -> list[str]:
    """ONNX files of a pruned VGG-16 beside the full one's, in onnxruntime."""
    result = read("deployed")
    lines = []
    for found in result["networks"]:
        size = f"{found['bytes'] / 1e6:.1f} of {result['full_bytes'] / 1e6:.1f} MB"
        lines += [
            f"| {found['multiple']} | {100 * found['macs_share']:.1f} % | {size} | {row['batch']} | {row['threads']} | "
            f"{row['milliseconds']:.2f} | {row['full_milliseconds']:.2f} | {row['ratio_of_medians']:.2f} |"
            for row in found["latency"]
        ]
    head = "| widths in multiples of | MACs | file | batch | threads | ms | full network, ms | ratio of medians |"
    return [head, "| --- |" + " --- |" * 7, *lines]


def loading() -> list[str]:
    """What loading a batch of images costs beside a training step."""
    lines = [
        f"| {'streamed' if row['streamed'] else 'in memory'} | {row['augment']} | "
        f"{1000 * row['processor_batch']:.0f} | {row['processor_step']:.1f} | {100 * row['processor_share']:.1f} % |"
        for row in read("loading")["rows"]
    ]
    return ["| images | augmentation | loading, ms | training, s | share |", "| --- |" + " --- |" * 4, *lines]


def surrogate() -> list[str]:
    """What searches deliver at equal compute, on the surrogate of recorded trials."""
    rows = {
        (row["sampler"], row["known"], row["screened"], row["method"]): row for row in read("surrogate")["searches"]
    }
    lines = []
    for sampler, known, screened in dict.fromkeys(key[:3] for key in rows):
        none, median, rungs = (rows[sampler, known, screened, method] for method in ("none", "median", "rungs"))
        lines.append(
            f"| {sampler} | {'yes' if known else 'no'} | {'yes' if screened else 'no'} | {_searched(none)} | "
            f"{100 * median['accuracy']:.2f} % | {_searched(rungs)} |"
        )
    head = "| sampler | known recipes | screening | no pruner | median pruner | rungs |"
    return [head, "| --- |" + " --- |" * 5, *lines]


def screening() -> list[str]:
    """The best untrained loss that optimisers of the widths find in the same time."""
    lines = []
    for name, found in read("screening")["samplers"].items():
        sampler, over = name.split(", ")
        candidates = round(statistics.mean(run["candidates"] for run in found["runs"]))
        lines.append(f"| {sampler} | {over} | {candidates} | {found['mean']:.4f} ± {found['spread']:.4f} |")
    return ["| optimiser | of the widths' | candidates | best untrained loss |", "| --- |" + " --- |" * 3, *lines]


def families() -> list[str]:
    """What of one network of each torchvision family can be narrowed, and why the rest cannot."""
    lines = []
    for name, found in read("families")["networks"].items():
        if "refused" in found:
            lines.append(f"| {name} | refused | | {found['refused']} |")
            continue
        fixed = ", ".join(f"{reason} ({count})" for reason, count in found["fixed"].items())
        share = f"{found['share_of_channels']:.0%}".replace("%", " %")
        lines.append(f"| {name} | {found['free']} of {found['groups']} | {share} | {fixed} |")
    head = "| network | groups that can be narrowed | share of its convolutions' channels | fixed |"
    return [head, "| --- |" + " --- |" * 3, *lines]


def _searched(row: dict[str, Any]) -> str:
    """A search's mean accuracy, and by how many points it is above that with the median pruner."""
    above = {key: 100 * value for key, value in row["above_median_pruner"].items()}
    return f"{100 * row['accuracy']:.2f} % ({above['mean']:+.2f}: {above['low']:+.2f} to {above['high']:+.2f})"


def _mean(row: dict[str, Any]) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['stdev']:.1f} %"


def _parameters(row: dict[str, Any]) -> str:
    return f"{row['runs'][0]['parameters']:,}"


def _quartiles(found: dict[str, float]) -> str:
    return f"{found['ratio']:.2f} ({found['lower_quartile']:.2f} to {found['upper_quartile']:.2f})"


def _latency(result: dict[str, Any], key: str, digits: int) -> str:
    return " / ".join(f"{result[f'latency_batch_{batch}'][key]['ratio']:.{digits}f}" for batch in (1, 64))
