"""The tasks by name; a new one is one entry here, its name in ``names.TASKS`` and its metric in ``METRICS``."""

from collections.abc import Callable, Mapping
from typing import Any

from ...errors import StudyError, nearest
from .classification import Classification
from .multilabel import Multilabel
from .own import own_task
from .reconstruction import Reconstruction
from .regression import Regression
from .segmentation import Segmentation
from .task import Task

# What the data says of itself: its number of classes, if it has any, and by what its channels were divided.
Builder = Callable[[int | None, tuple[float, ...], Mapping[str, Any]], Task]


def _segmentation(classes: int | None, scale: tuple[float, ...], arguments: Mapping[str, Any]) -> Task:
    found = arguments.get("num_classes", classes)
    if found is None:
        raise StudyError("task.num_classes is missing: how many classes a pixel may have, e.g. task.num_classes = 21")
    if type(found) is not int or found < 2:
        raise StudyError(f"task.num_classes must be how many classes a pixel may have, at least 2, but got {found!r}")
    ignored = arguments.get("ignore_index", 255)
    if type(ignored) is not int:
        raise StudyError(f"task.ignore_index must be a whole number, but got {ignored!r}")
    return Segmentation(found, ignored)


TASKS: dict[str, Builder] = {
    "classification": lambda classes, scale, arguments: Classification(classes),
    "multilabel": lambda classes, scale, arguments: Multilabel(),
    "regression": lambda classes, scale, arguments: Regression(),
    "reconstruction": lambda classes, scale, arguments: Reconstruction(scale),
    "segmentation": _segmentation,
}
_ARGUMENTS = {"segmentation": ("num_classes", "ignore_index")}


def make_task(name: str, arguments: Mapping[str, Any], *, num_classes: int | None, scale: tuple[float, ...]) -> Task:
    """The task of a study.

    Args:
        name: in ``names.TASKS``, ``path/to/file.py:Task`` or ``package.module:Task``.
        arguments: the other keys of ``[task]``.
        num_classes: of the data; None where it does not say.
        scale: (C,) by which the channels of the inputs were divided.

    Raises:
        StudyError: if it cannot be made, or has an argument that it does not know.
        NetworkError: if importing the user's own fails.
    """
    if name not in TASKS:
        return own_task(name, arguments)
    known = _ARGUMENTS.get(name, ())
    for argument in arguments:
        if argument not in known:
            accepted = ", ".join(f"task.{each}" for each in known) or "none"
            raise StudyError(f"task {name!r} has no key task.{argument}{nearest(argument, known)} (known: {accepted})")
    return TASKS[name](num_classes, scale, arguments)
