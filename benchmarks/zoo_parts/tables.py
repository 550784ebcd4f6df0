"""Markdown tables of what both tools did to the zoo."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from branchfold.benchmarks.zoo_parts.judging import EXACT, EXACT_IN_TRAINING, FAMILIES

Row = dict[str, Any]
# Results are alike, so that seconds can be compared, if the shares of the MACs removed differ by at most this.
ALIKE = 0.05
# Smaller peaks, in MB, are noise.
LEAST_MEMORY = 10
# Causes that hold less, in all networks together, are not told.
LEAST_TOLD = 0.01
# Seconds that adding branches and folding should not take.
LONG = 5
ENDINGS = {"refused": "refused", "crash": "failed", "stopped": "stopped by a limit"}


def faults(row: Row) -> list[str]:
    """What is wrong with branchfold's result; a refusal is not wrong."""
    found = [
        f"{key.removeprefix('error_')}: {value:.0e}"
        for key, value in row.items()
        if key.startswith("error_") and value is not None and not value <= _tolerance(key)
    ]
    found += [f"without gradients: {', '.join(row['untrained'][:3])}"] if row.get("untrained") else []
    found += ["other class or module names"] if row.get("renamed") else []
    return found + ([f"{row['stage']}: {row['crash']}"] if "crash" in row else [])


def is_wrong(row: Row) -> bool:
    """Whether branchfold's result has a fault."""
    return bool(faults(row))


def _tolerance(key: str) -> float:
    return EXACT_IN_TRAINING if key.endswith("training") else EXACT


def removed(row: Row) -> float:
    """The share of the MACs that is gone; 0 where the network was refused or the result does not run."""
    return row.get("removed", 0.0)


def is_accepted(row: Row) -> bool:
    """Whether something was narrowed, and what came out runs."""
    return "removed" in row and bool(row.get("narrowed", True))


def summary(result: dict[str, Any]) -> str:
    """Per family what each tool accepts and removes; where both do, how they compare; causes by what they cost."""
    networks = {
        key: row
        for key, row in result["networks"].items()
        if not any("unusable" in row.get(tool, {}) for tool in ("branchfold", "torch-pruning"))
    }
    families = {f: [row for row in networks.values() if row["family"] == f] for f in FAMILIES}
    families = {family: rows for family, rows in families.items() if rows}
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    unusable = len(result["networks"]) - len(networks)
    parts = [
        f"Seed {result['seed']}, commit {result['commit']}; {versions}; {result['hardware']}.",
        f"{len(networks)} networks; {unusable} more could not be built or run by themselves.",
        _table(
            "family | networks | accepted | under 5 % removed | wrong | touched | MACs removed, refused as 0 | "
            "Torch-Pruning: accepted | MACs removed, refused as 0",
            [_family(name, rows) for name, rows in families.items()],
        ),
        _table(
            "where both accept | networks | MACs removed | Torch-Pruning | with like results | seconds ours/theirs: "
            "median (quartiles) | peak memory: median (quartiles)",
            [_both(name, rows) for name, rows in [*families.items(), ("all", [*networks.values()])]],
        ),
        _endings(networks),
        _slow(networks),
        _table(
            "cause | networks' MACs held, in networks | networks | groups | networks, most held first",
            _causes(networks),
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def _family(name: str, rows: list[Row]) -> list[str]:
    ours, theirs = ([row[tool] for row in rows if tool in row] for tool in ("branchfold", "torch-pruning"))
    taken = [row for row in ours if is_accepted(row)]
    return [
        name,
        str(len(rows)),
        str(len(taken)),
        str(sum(removed(row) < 0.05 for row in taken)),
        str(sum(map(is_wrong, ours))),
        str(sum(bool(row.get("touched")) for row in ours)),
        _mean(map(removed, ours)),
        str(sum(map(is_accepted, theirs))) if theirs else "",
        _mean(map(removed, theirs)),
    ]


def _both(name: str, rows: list[Row]) -> list[str]:
    pairs = [(row["branchfold"], row["torch-pruning"]) for row in rows if {"branchfold", "torch-pruning"} <= row.keys()]
    pairs = [(ours, theirs) for ours, theirs in pairs if is_accepted(ours) and is_accepted(theirs)]
    alike = [(ours, theirs) for ours, theirs in pairs if abs(removed(ours) - removed(theirs)) <= ALIKE]
    return [
        name,
        str(len(pairs)),
        *(_mean(removed(pair[side]) for pair in pairs) for side in (0, 1)),
        str(len(alike)),
        _quartiles([a["seconds"] / b["seconds"] for a, b in alike]),
        _quartiles([a["megabytes"] / b["megabytes"] for a, b in alike if b["megabytes"] >= LEAST_MEMORY]),
    ]


def refusal(row: Row) -> str:
    """Why nothing came out of a network; empty if something did."""
    if "removed" in row:
        return ""
    kind = next(key for key in ("refused", "crash", "stopped") if key in row)
    said = " ".join(row[kind].split())
    return said if kind == "refused" else f"{kind} in {row.get('stage')}: {said}"


def _after_the_place(reason: str) -> str:
    """The reason without the class and the place in its file."""
    return reason.rpartition("`): ")[2] if "`): " in reason else reason


def _endings(networks: dict[str, Row]) -> str:
    """How each tool ended where nothing came out."""
    lines = []
    for tool in ("branchfold", "torch-pruning"):
        rows = [row[tool] for row in networks.values() if tool in row and "removed" not in row[tool]]
        counts = [f"{sum(key in row for row in rows)} {kind}" for key, kind in ENDINGS.items()]
        lines.append(f"Networks of which nothing came out of {tool}: {', '.join(counts)}.")
    return "\n".join(lines)


def _slow(networks: dict[str, Row]) -> str:
    """Where branchfold takes long, and Torch-Pruning does not."""
    slow = [
        f"{key} {row['branchfold']['seconds']:.1f} s"
        for key, row in networks.items()
        if row.get("branchfold", {}).get("seconds", 0) > LONG >= row.get("torch-pruning", {}).get("seconds", 0)
    ]
    return f"Over {LONG} s in branchfold, and less in Torch-Pruning: {', '.join(slow) or 'none'}."


def _causes(networks: dict[str, Row]) -> list[list[str]]:
    """Reasons by the MACs that they hold, as shares of their networks, summed; a network refused is held whole."""
    found: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for key, row in networks.items():
        ours = row.get("branchfold", {})
        if ours and (reason := refusal(ours)):
            found[f"REFUSED: {_after_the_place(reason)}"].append((1, 0, key))
        for cause in ours.get("fixed", ()):
            found[cause["reason"]].append((cause["macs"], cause["groups"], key))
    ordered = sorted(found.items(), key=lambda item: -sum(share for share, _, _ in item[1]))
    return [
        [
            reason,
            f"{sum(share for share, _, _ in rows):.2f}",
            str(len(rows)),
            str(sum(groups for _, groups, _ in rows)),
            _some(f"{key} {share:.0%}" for share, _, key in sorted(rows, reverse=True)),
        ]
        for reason, rows in ordered
        if sum(share for share, _, _ in rows) >= LEAST_TOLD
    ]


def details(result: dict[str, Any]) -> str:
    """For every network what branchfold said or did, what is wrong, and what stands in the way of the rest."""
    lines = ["# Every network", ""]
    for key, row in sorted(result["networks"].items(), key=lambda item: removed(item[1].get("branchfold", {}))):
        lines += [f"- {key}: {line}" if first else f"  - {line}" for first, line in _told(row.get("branchfold", {}))]
    return "\n".join(lines)


def _told(row: Row) -> Iterator[tuple[bool, str]]:
    if "unusable" in row:
        yield True, f"UNUSABLE {row['unusable']}"
    elif reason := (refusal(row) if row else "not measured"):
        yield True, f"REFUSED {reason}"
    else:
        yield True, f"{removed(row):.1%} removed, {row['narrowed']} of {row['groups']} groups, {row['seconds']:.2f} s"
    for fault in faults(row):
        yield False, f"WRONG {fault}"
    if row.get("stopped"):
        yield False, f"STOPPED {row['stopped']} in {row.get('stage')}"
    if row.get("touched"):
        yield False, f"TOUCHED {', '.join(row['touched'][:3])} ({len(row['touched'])} in all)"
    for cause in row.get("fixed", ())[:6]:
        if cause["macs"] >= 0.01:
            yield False, f"{cause['macs']:.1%} in {cause['groups']} groups: {cause['example'] or cause['reason']}"


def _table(heads: str, rows: list[list[str]]) -> str:
    """A Markdown table; empty without rows."""
    columns = heads.split(" | ")
    lines = [columns, ["---"] * len(columns), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _some(keys: Iterable[str], most: int = 12) -> str:
    keys = list(keys)
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _mean(shares: Iterable[float]) -> str:
    shares = list(shares)
    return f"{statistics.mean(shares):.1%}" if shares else ""


def _quartiles(ratios: list[float]) -> str:
    if len(ratios) < 2:
        return ", ".join(f"{ratio:.2f}" for ratio in ratios)
    lower, median, upper = statistics.quantiles(ratios, n=4)
    return f"{median:.2f} ({lower:.2f}, {upper:.2f})"
