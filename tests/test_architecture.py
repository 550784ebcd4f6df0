"""How the house is built: no circle of imports, no crowded room, and every room in the wheel."""

import ast
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("models", "search", "studies")
MOST_FILES = 12


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name below the root; a room's `__init__` by the room's."""
    files = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in ROOT.glob(f"{room}/**/*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What a module says outside of its functions, to type checkers alone too: a circle of types is a knot as well."""
    for statement in body:
        yield statement
        inner = [] if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) else ast.iter_child_nodes(statement)
        yield from statements([node for node in inner if isinstance(node, ast.stmt)])


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports; of a name taken from a room, the room or its module."""
    found = set()
    parts = [part for part in name.split(".") if part != "__init__"]
    package = parts if path.name == "__init__.py" else parts[:-1]
    for statement in statements(ast.parse(path.read_text()).body):
        if isinstance(statement, ast.ImportFrom) and statement.level:
            base = [*package[: len(package) - statement.level + 1], *(statement.module or "").split(".")]
            source = ".".join(part for part in base if part)
            inside = {alias.name: f"{source}.{alias.name}".lstrip(".") for alias in statement.names}
            found |= {module if module in known else source for module in inside.values()}
    return (found & known.keys()) - {name}


def test_nothing_is_imported_in_a_circle():
    known = modules()
    edges = {name: imports(name, path, known) for name, path in known.items()}
    assert {"models.branches.network", "models.channels.groups", "errors"} <= edges["models.branching"]
    try:
        list(TopologicalSorter(edges).static_order())
    except CycleError as error:
        pytest.fail(" ← ".join(error.args[1]))


def test_every_room_is_in_the_wheel():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {name for name, path in modules().items() if path.name == "__init__.py" and path.parent != ROOT}
    assert len(set(packages)) == len(packages)
    assert set(packages) == {"branchfold", *(f"branchfold.{folder}" for folder in folders)}


def test_every_folder_with_code_is_a_room():
    assert {path.parent for path in modules().values()} == {
        path.parent for path in modules().values() if path.name == "__init__.py"
    }


def test_no_room_is_crowded():
    rooms: dict[Path, int] = {}
    for path in modules().values():
        rooms[path.parent] = rooms.get(path.parent, 0) + 1
    assert {str(room.relative_to(ROOT)): count for room, count in rooms.items() if count > MOST_FILES} == {}
