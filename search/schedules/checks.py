"""A definition's `[space.schedule]` held against the shapes, which can be done before anything else is known."""

from collections.abc import Iterator

from ...errors import ScheduleError, nearest
from ...studies.definition.dimensions import Dimension, extremes
from ...studies.definition.reading import Definition
from .schedule import make_schedule
from .shapes import SHAPES


def check_schedules(definition: Definition) -> None:
    """Checks the parameters of the shapes that a study names.

    Raises:
        StudyError: If a shape has no such parameter, or cannot take one of its values; the line names the key.
    """
    for key, shape, name, dimension in _parameters(definition):
        known = SHAPES[shape].parameters
        if name not in known:
            there = f"; known here: {', '.join(known)}" if known else f"; the shape {shape} has no parameters"
            hint = nearest(key, [f"space.schedule.{shape}.{each}" for each in known]) if nearest(name, known) else there
            raise definition.mistake(key, f"unknown key {key}{hint}")
        for value in extremes(dimension):
            try:
                make_schedule(shape, **{name: value})
            except ScheduleError as error:
                raise definition.mistake(key, f"{key}: {error}") from None


def _parameters(definition: Definition) -> Iterator[tuple[str, str, str, Dimension]]:
    for shape, parameters in definition.space.schedule.parameters.items():
        for name, dimension in parameters.items():
            yield f"space.schedule.{shape}.{name}", shape, name, dimension
