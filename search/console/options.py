"""Options that several commands take, and what is read from an option's text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from ...errors import NetworkError

if TYPE_CHECKING:
    import optuna

    from ...studies.definition.reading import Definition

# How much is printed while something runs.
Detail = Literal["quiet", "normal", "verbose"]

DEFAULT_STORAGE = "sqlite:///studies/branchfold.db"

storage_option = click.option(
    "--storage", default=DEFAULT_STORAGE, show_default=True, metavar="URL", help="SQLAlchemy URL of the study database."
)
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another value for a key, for example model.width=0.25; without a value the key is removed.",
)
data_root_option = click.option(
    "--data-root", default=None, metavar="FOLDER", help="Folder of the data sets (default: the definition's, 'data')."
)
data_option = click.option(
    "--data", metavar="MAKE", help="Your own path/to/file.py:MAKE, where it makes the data that FILE was trained on."
)
device_option = click.option(
    "--device", metavar="NAME", help="Where to train: auto, cpu, cuda, cuda:1, mps (default: the definition's, 'auto')."
)
best_trial_option = click.option(
    "--trial", type=click.IntRange(min=0), help="Number of the trial (default: the best one)."
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after so long; what runs goes on in the next run.",
)
force_option = click.option("--force", is_flag=True, help="Replace a file that is there and not branchfold's own.")


class WorkersType(click.ParamType):
    """A number of workers, or "auto" for as many as the machine has use for, which is None."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        if value == "auto":
            return None
        if not value.isdecimal() or int(value) < 1:
            self.fail(f"{value!r} must be a number of at least 1, or auto.", param, ctx)
        return int(value)


def detail_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """How much is printed while a command runs, as its argument `detail`."""
    quiet = click.option("-q", "--quiet", "detail", flag_value="quiet", help="Print the result alone.")
    normal = click.option(
        "--normal", "detail", flag_value="normal", default=True, help="Print a line for every trial (the default)."
    )
    verbose = click.option("-v", "--verbose", "detail", flag_value="verbose", help="Print a line for every epoch.")
    return quiet(normal(verbose(command)))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def as_definition(
    study: str, overrides: tuple[str, ...], trials: int | None, data_root: str | None, device: str | None
) -> Definition:
    """The definition of a study with `--set`, and then the options of their own, in it; checked as far as it can be.

    Raises:
        StudyError: if a key or value is not allowed, also where an option takes its place.
    """
    from ...studies.definition.reading import load_definition
    from ..schedules.checks import check_schedules

    definition = load_definition(study, overrides)
    check_schedules(definition)
    definition = definition if trials is None else definition.with_trials(trials)
    definition = definition if device is None else definition.with_device(device)
    return definition if data_root is None else definition.with_data_root(data_root)


def as_study_name(study: str) -> str:
    """The name of a study that was given as such or by its TOML file."""
    if study.endswith(".toml"):
        from ...studies.definition.reading import load_definition

        return load_definition(study).study.name
    return study


def as_study(study: str, storage: str) -> optuna.Study:
    """A study that was given by its name or TOML file.

    Raises:
        StudyError: if there is none in this database.
    """
    from ...studies.database.storage import load_study, open_storage

    return load_study(open_storage(storage, create=False), as_study_name(study))


def as_arguments(overrides: tuple[str, ...]) -> dict[str, Any]:
    """Factory arguments from `key=value` or `model.key=value` strings; values as in TOML, else text.

    Raises:
        NetworkError: if a string names no argument.
    """
    from ...studies.definition.reading import parse_override

    own = [override.strip().removeprefix("model.") for override in overrides]
    for override in own:
        name, _, value = override.partition("=")
        if not value.strip() or not name.strip().isidentifier():
            raise NetworkError(f"--set {override}: must be an argument of the factory and its value, e.g. width=0.25")
    return {path[-1]: value for path, value in (parse_override(f"model.{override}") for override in own)}


def as_shape(text: str | None) -> tuple[int, ...] | None:
    """(C, H, W) from "3x224x224".

    Raises:
        NetworkError: if the sizes are not positive integers.
    """
    if text is None:
        return None
    sizes = text.lower().replace(",", "x").split("x")
    if not all(size.strip().isdecimal() and int(size) > 0 for size in sizes):
        raise NetworkError(f"--input {text}: must be positive sizes joined by x, e.g. 3x224x224")
    return tuple(int(size) for size in sizes)
