"""Tasks that a program hands over as objects: known by a digest of what they are, in this process alone."""

from collections.abc import Mapping
from typing import Any

from ...errors import StudyError
from ...models.networks.given import PREFIX
from ..digests import digest_of_values

__all__ = ["PREFIX", "give_task", "given_task"]

_GIVEN: dict[str, Any] = {}


def give_task(own: Any) -> str:
    """The name by which a task is found from here on, ``given:`` and a digest of its class and attributes.

    Args:
        own: an object as `OwnTask` takes.

    Raises:
        StudyError: if it is a class instead of an object, or the name of a task.
    """
    if isinstance(own, type | str):
        what = f"the class {own.__name__}" if isinstance(own, type) else repr(own)
        raise StudyError(f"task must be an object with loss and metric, but is {what}; names stand in [task] name")
    told = {key: getattr(own, key, None) for key in ("name", "higher_is_better", "unit")}
    name = f"{PREFIX}{digest_of_values(own, told)}"
    _GIVEN[name] = own
    return name


def given_task(name: str, arguments: Mapping[str, Any]) -> Any:
    """The task that was given by this name.

    Raises:
        StudyError: if none was in this process, or there are arguments for it.
    """
    if name not in _GIVEN:
        raise StudyError(
            f"task {name!r} was given as an object by another process, or is another one now; "
            f"give it again, or name a class in its place: path/to/file.py:TASK"
        )
    if arguments:
        raise StudyError(f"a task that is given takes no arguments, but got {', '.join(sorted(arguments))}")
    return _GIVEN[name]
