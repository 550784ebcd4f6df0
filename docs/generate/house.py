"""The house as a tree: each folder and file with the first sentence of its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("models", "studies", "search")


def house() -> list[str]:
    """The tree of all rooms, as a block of text."""
    lines = [line for room in _ROOMS for line in _folder(_ROOT / room, 0)]
    return ["```", *lines, "```"]


def _folder(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", folder / "__init__.py", depth)
    entries = sorted(folder.iterdir())
    for path in entries:
        if path.suffix == ".py" and path.name != "__init__.py":
            yield _line(path.name, path, depth + 1)
    for path in entries:
        if (path / "__init__.py").exists():
            yield from _folder(path, depth + 1)


def _line(name: str, path: Path, depth: int) -> str:
    sentence = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].split())
    return f"{'  ' * depth + name:<28}{sentence}".rstrip()
