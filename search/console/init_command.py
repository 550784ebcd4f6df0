"""The command that writes a study file for a network and its data."""

from __future__ import annotations

import os
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import StudyError, nearest
from ...names import DATA_SETS
from .early import check_network, check_own_code
from .options import as_arguments, data_root_option
from .terminal import make_console, print_line

if TYPE_CHECKING:
    from ..trial.first_look import FirstLook

# From this share of the time on it is told that other programs had the core.
_BUSY = 0.1


@click.command("init")
@click.argument("model")
@click.option(
    "--data",
    required=True,
    metavar="DATA",
    help="A data set's name, a folder of images, path/to/file.py:MAKE or package.module:MAKE.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="An argument of the factory, e.g. width=0.25."
)
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Weights of the network that you have trained.")
@click.option("--weights", metavar="NAME", help="Published weights of torchvision:NAME and timm:NAME, e.g. DEFAULT.")
@click.option("--size", type=click.IntRange(min=1), help="Pixels that images of a folder are brought to.")
@click.option(
    "--normalisation",
    type=click.Choice(["measured", "weights", "none"]),
    help="How images are normalised: as the network was trained.",
)
@click.option("--budget", type=click.FloatRange(0, 1, min_open=True), default=0.5, show_default=True, help="MACs left.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="File to write (default: named after network and data)."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@data_root_option
def init(
    model: str,
    data: str,
    overrides: tuple[str, ...],
    checkpoint: Path | None,
    weights: str | None,
    size: int | None,
    normalisation: str | None,
    budget: float,
    output: Path | None,
    force: bool,
    data_root: str | None,
) -> None:
    """Write a commented study file for MODEL and its data, after a first look at both.

    MODEL is what `branchfold inspect` takes.

    Example: branchfold init timm:resnet18 --data photos --checkpoint mine.pt
    """
    if checkpoint is not None and weights is not None:
        raise StudyError("give --checkpoint or --weights, and not both")
    path = output or Path(f"{_study_name(model, data)}.toml")
    if path.exists() and not force:
        raise StudyError(f"cannot write {path}: it is there; choose another --output, or replace it with --force")
    arguments = as_arguments(overrides)
    check_network(model, checkpoint)
    table: dict[str, Any] = {"name": "folder", "root": data} if Path(data).is_dir() else {"name": data}
    if table["name"] == data and ":" not in data and data not in DATA_SETS:
        raise StudyError(
            f"no folder {data!r}{nearest(data, DATA_SETS)} (--data is a folder of images, one of "
            f"{', '.join(DATA_SETS)}, path/to/file.py:MAKE or package.module:MAKE)"
        )
    check_own_code({"data": data})
    from ...studies.definition.places import placed, with_places
    from ..events import Notice
    from ..process.quiet import quiet_downloads
    from ..trial.first_look import first_look

    console, here = make_console(), Path.cwd()
    if data_root is not None and "root" not in table:
        table["root"] = data_root
    table |= {key: value for key, value in (("size", size), ("normalisation", normalisation)) if value is not None}
    baseline = {"checkpoint": str(checkpoint)} if checkpoint else {"weights": weights} if weights else {}
    tables = with_places({"model": {"factory": model, **arguments}, "data": table, "baseline": baseline}, here)
    if "root" not in table and ":" not in data:
        tables["data"]["root"] = placed(("data", "root"), "data", here)
    with quiet_downloads() if weights else nullcontext():
        found = first_look(
            tables["model"],
            tables["data"],
            tables["baseline"],
            name=_study_name(model, data),
            macs=budget,
            notify=lambda event: print_line(console, event.text) if isinstance(event, Notice) else None,
        )
    _write(path, found)
    for line in (*_lines(found), *found.notes, f"wrote {path}; next: branchfold run {path}"):
        print_line(console, line)


def _write(path: Path, found: FirstLook) -> None:
    from ...files import whole_file
    from ...studies.definition.reading import parse_definition
    from ...studies.definition.writing import study_text
    from ..trial.first_look import MOST_GROUPS

    bounds = found.bounds if len(found.bounds) <= MOST_GROUPS else {}
    folder = path.absolute().parent
    tables = {name: _relative(name, keys, folder) for name, keys in found.tables.items()}
    text = study_text(tables, bounds, "\n".join(_lines(found)))
    parse_definition(tomllib.loads(text))
    try:
        with whole_file(path) as draft:
            draft.write_text(text, "utf-8")
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror}") from error


def _relative(table: str, keys: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A table with paths below the file's folder or beside it relative to it."""
    found = dict(keys)
    for key in {"data": ("root", "name"), "model": ("factory",), "baseline": ("checkpoint",)}.get(table, ()):
        value = found.get(key)
        if isinstance(value, str) and os.path.isabs(value):
            short = os.path.relpath(value, folder)
            found[key] = value if short.startswith(os.path.join("..", "..")) else short
    return found


def _lines(found: FirstLook) -> list[str]:
    """What was found, for the file's top and for the terminal."""
    from ...models.examples import described, shape_text
    from ..training.device import device_line
    from .shown.numbers import with_interval

    costs, study, trial = found.costs, found.tables["study"], found.tables["trial"]
    prunable = sum(group.prunable for group in costs.groups)
    hours = found.trial_seconds * study["trials"] / 3600
    lines = [
        f"{found.tables['model']['factory']} on {found.tables['data']['name']}: {prunable} of {len(costs.groups)} "
        f"channel groups can be narrowed, {costs.full.macs:,} MACs, {costs.full.parameters:,} parameters, input "
        f"{shape_text(described(found.inputs))}"
    ]
    if found.baseline is not None:
        lines.append(f"baseline: {with_interval(*found.baseline)} on {found.examples} validation examples")
    lines.append(
        f"about {_time_text(found.trial_seconds)} a trial of {trial['epochs']} epochs and {hours:.1f} h in "
        f"all, {device_line().removeprefix('training ')}, measured now{_busy_text(found)}"
    )
    return lines


def _busy_text(found: FirstLook) -> str:
    """What other programs cost of the measured time; nothing where that is little."""
    if found.waiting < _BUSY:
        return ""
    alone = _time_text(found.trial_seconds * (1 - found.waiting))
    return f" while other programs took {100 * found.waiting:.0f} % of the time; about {alone} a trial without them"


def _time_text(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _study_name(model: str, data: str) -> str:
    """A name made of the network's and the data's."""
    parts = (
        Path(text.rpartition(":")[0]).stem if ".py:" in text else text.rpartition(":")[2] for text in (model, data)
    )
    names = (Path(part).name or "data" for part in parts)
    return "-".join("".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-") for name in names)
