"""The last sections of a report: all trials, what failed, and how to do it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..definition.reading import Definition
from ..definition.writing import toml_text
from ..tables.study import StudyView
from ..tables.trials import STATES, TrialLine
from ..tables.words import count, listed, percent, seconds_text
from .document import Section, Table


def trials_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """The table of all trials."""
    if not lines:
        return Section("trials", "", ())
    columns = ("trial", "state", view.metric.name, "MACs", "parameters", "latency", "compute", "seconds", "recipe", "")
    rows, keys = [], []
    for line in lines:
        row = line.row
        marks = (
            ["best"] * line.best
            + ["front"] * (line.front and len(view.objectives) == 1)
            + [f"known recipe {line.known}"] * bool(line.known)
        )
        told = f"{', '.join(marks)}{': ' if marks and line.said else ''}{line.said}"
        rows.append(
            (
                str(line.number),
                line.came_to,
                "-" if line.metric is None or line.state == "fail" else view.metric.text(line.metric),
                _share(row.macs_share),
                _share(row.parameters_share),
                _share(row.latency_share) + " ?" * bool(row.latency_unsure),
                "-" if row.compute is None else f"{row.compute:.2f}",
                "-" if row.seconds is None else f"{row.seconds:.1f}",
                line.recipe or "-",
                told,
            )
        )
        shares = (row.macs_share, row.parameters_share, row.latency_share, row.compute, row.seconds)
        keys.append((line.number, line.came_to, line.metric, *shares, line.recipe or "", told))
    said = [
        f"The {view.metric.name} is that at α = 0 on the validation split, costs are shares of the baseline's, compute "
        "is in epochs of its training."
    ]
    if any(line.row.latency_unsure for line in lines):
        said.append("?: a latency that spreads more than it differs from what it is compared with.")
    return Section("trials", "All trials", tuple(said), table=Table(columns, tuple(rows), tuple(keys), sortable=True))


def failures_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """What failed, and why."""
    failed = [line for line in lines if line.state == "fail"]
    states = Counter(line.state for line in lines)
    told = listed([f"{number} {state} ({STATES.get(state, state)})" for state, number in states.items()])
    if not failed:
        said = f"No trial failed. Of {count(len(lines), 'trial')}: {told}." if lines else ""
        return Section("failures", "What failed", (said,) if said else ())
    rows = tuple((str(line.number), line.reason or "no reason was kept", line.recipe or "-") for line in failed)
    return Section(
        "failures",
        "What failed",
        (f"Of {count(len(lines), 'trial')}: {told}.",),
        table=Table(("trial", "why", "recipe"), rows),
    )


def shared_toml(definition: Definition) -> str:
    """A definition for others: without what is of this machine, and not of the study."""
    tables = definition.to_dict()
    for table, key in (("data", "root"), ("data", "workers"), ("trial", "device")):
        tables[table].pop(key, None)
    return toml_text(tables)


def reproduction_section(view: StudyView, lines: Sequence[TrialLine]) -> Section:
    """Commands, seeds, versions and the definition."""
    name, definition = view.name, view.definition
    commands = [f"branchfold run {name}.toml", f"branchfold show {name}", f"branchfold export {name}"]
    best = next((line for line in lines if line.best), None)
    if best is not None:
        commands.insert(2, f"branchfold rerun {name} --trial {best.number}")
    seconds = sum(line.row.seconds or 0.0 for line in lines)
    compute = sum(line.row.compute or 0.0 for line in lines)
    said = [f"The trials took {seconds_text(seconds)} and {compute:.1f} epochs of the baseline's training in all."]
    if view.baseline is not None and view.baseline.taught:
        said.append(
            f"What they learn from, the baseline's outputs for the training images, took {view.baseline.taught:.2f} "
            "epochs more."
        )
    if again := [row for row in view.refined if row.seconds is not None and row.compute is not None]:
        seconds, compute = (sum(getattr(row, key) or 0.0 for row in again) for key in ("seconds", "compute"))
        said.append(
            f"{count(len(again), 'run')} of finalists and refined trials took another {seconds_text(seconds)} and "
            f"{compute:.1f} epochs."
        )
    if definition is not None:
        said.append(
            f"Seed {definition.study.seed}; each trial's is this and its number. Another machine, number of threads or "
            f"version may give slightly other numbers."
        )
    versions: dict[str, str] = next(
        (t.user_attrs["versions"] for t in reversed(view.trials) if "versions" in t.user_attrs), {}
    )
    if versions:
        said.append(f"Versions: {', '.join(f'{package} {version}' for package, version in versions.items())}.")
    code = [("Commands", "\n".join(commands))]
    if definition is not None:
        code.append((f"{name}.toml", shared_toml(definition)))
    return Section("again", "How to do it again", tuple(said), code=tuple(code))


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)
