"""The description that each format holds: where it lies, found without torch, which takes seconds to import."""

import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

# Under this key or name each format holds the description.
KEY = "branchfold"
RECORD = f"{KEY}.json"
# Suffixes of files that are zip archives of torch's.
ARCHIVES = ("pt", "pt2")


def is_described(path: Path) -> bool:
    """Whether a file is one of safetensors and holds a description."""
    try:
        with safe_open(path, framework="numpy") as file:
            return KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def add_record(path: Path, text: str) -> None:
    """Puts a description into a zip archive of torch's, beside its own records, which torch does not read."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/{RECORD}", text)


def find_record(path: Path) -> str | None:
    """The description in a zip archive, read without unpickling anything; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.rpartition("/")[2] == RECORD), None)
            return None if name is None else archive.read(name).decode()
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile):
        return None
