"""How a study runs: schedules, space, budget, data, training, one trial, workers, the command line; and the library."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..studies.definition.reading import Definition, load_definition, parse_definition
    from .library.result import BestNetwork, Result
    from .library.running import run_study

__all__ = ["BestNetwork", "Definition", "Result", "load_definition", "parse_definition", "run_study"]

# Where the public names are: the command line, which is in this room too, is not to wait for all of them.
_HOMES = {
    "BestNetwork": ".library.result",
    "Definition": "..studies.definition.reading",
    "Result": ".library.result",
    "load_definition": "..studies.definition.reading",
    "parse_definition": "..studies.definition.reading",
    "run_study": ".library.running",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    """What there is already, and the public names."""
    return sorted({*globals(), *__all__})
