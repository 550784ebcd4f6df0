"""The table of α schedules: each shape's formula, its default curve, and its parameters."""

from branchfold.search.schedules import SHAPES, make_schedule

_LEVELS = " ▁▂▃▄▅▆▇█"
_POINTS = 20
# Losses that stop improving twice at every level: what a plateau may look like.
_LOSSES = [1.0, 0.9, 0.9, 0.9]


def curve(shape: str) -> str:
    """α over its window as blocks, each an eighth high."""
    schedule = make_schedule(shape)
    blocks = []
    for i in range(_POINTS):
        if schedule.observes:
            schedule.observe(_LOSSES[i % len(_LOSSES)])
        blocks.append(_LEVELS[round(schedule(i / _POINTS) * (len(_LEVELS) - 1))])
    return "".join(blocks)


def parameters(shape: str) -> str:
    """Default and searched range of each."""
    return ", ".join(
        f"`{name}` ({p.default:g}, {p.low:g} to {p.high:g})" for name, p in SHAPES[shape].parameters.items()
    )


def summary(shape: str) -> str:
    """The first sentence of the shape's documentation."""
    text = (SHAPES[shape].function.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split()).rstrip(".")


def schedules() -> list[str]:
    """A row for each shape."""
    rows = [f"| `{shape}` | `{curve(shape)}` | {summary(shape)} | {parameters(shape)} |" for shape in SHAPES]
    return [
        "| shape | α from t = 0 to 1 | α(t) | own parameters (default, searched) |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
