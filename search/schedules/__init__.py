"""How α falls: the shapes of schedules, and the stages in which the groups of a network fade."""

from .schedule import Schedule, make_schedule
from .shapes import SHAPES, Parameter, Shape
from .stages import Window, ordered, stages_of, windows_for

__all__ = ["SHAPES", "Parameter", "Schedule", "Shape", "Window", "make_schedule", "ordered", "stages_of", "windows_for"]
