"""The record of all runs: one JSON line each, appended as soon as it is done, so that any process may be ended."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .cells import Cell

TUNING, FINAL = "tuning", "final"


@dataclass(frozen=True)
class Key:
    """Which run.

    Attributes:
        cell: of the map.
        arm: of it.
        purpose: `TUNING` or `FINAL`.
        number: of the tuning's trial, or the seed.
        baseline: the seed of the network that is pruned.
    """

    cell: Cell
    arm: str
    purpose: str
    number: int
    baseline: int

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        return {**vars(self), "cell": self.cell._asdict()}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "Key":
        """The key of a line."""
        return cls(Cell(**line["cell"]), *(line[name] for name in ("arm", "purpose", "number", "baseline")))


class Ledger:
    """The lines of all files in a folder; new ones go to the file that is named.

    Args:
        folder: of the files.
        name: of the file to append to, without its suffix.
    """

    def __init__(self, folder: Path, name: str = "runs") -> None:
        self.file = folder / f"{name}.jsonl"
        self.lines: dict[Key, dict[str, Any]] = {}
        for path in sorted(folder.glob("*.jsonl")):
            for line in _whole_lines(path):
                self.lines[Key.of(line)] = line

    def add(self, key: Key, result: Mapping[str, Any]) -> dict[str, Any]:
        """Appends a run."""
        line = {**key.to_dict(), **result}
        # What a kill cut off must not spoil the next line.
        torn = self.file.exists() and self.file.read_bytes()[-1:] not in (b"", b"\n")
        with self.file.open("a") as file:
            file.write("\n" * torn + json.dumps(line) + "\n")
        self.lines[key] = line
        return line


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file; one that a kill cut off is left out, its run is done again."""
    for text in path.read_text().splitlines():
        try:
            yield json.loads(text)
        except json.JSONDecodeError:
            continue


def packed(right: npt.NDArray[np.bool_]) -> str:
    """Whether each example is right, as text: bits, compressed, in base 85."""
    return base64.b85encode(zlib.compress(np.packbits(right).tobytes(), 9)).decode()


def unpacked(text: str, count: int) -> npt.NDArray[np.bool_]:
    """What `packed` took, of so many examples."""
    bits = np.frombuffer(zlib.decompress(base64.b85decode(text)), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)
