"""Mistakes that need no torch to be seen: told before it is imported, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError, NetworkError, nearest
from ...names import DATA_SETS, NETWORKS

if TYPE_CHECKING:
    from ...studies.definition.reading import Definition


def check_files(definition: Definition, *, is_new: bool) -> None:
    """Checks that the files and folders that a definition names are there.

    Args:
        definition: of a study that is to run.
        is_new: whether its checkpoint is still to be read.

    Raises:
        NetworkError: if a checkpoint, or a file with the user's own code, is missing.
        DataError: if the folder of images is missing.
    """
    check_network(definition.model.factory, definition.baseline.checkpoint if is_new else None)
    for name in (definition.data.name, definition.task.name):
        _check_code(name)
    if definition.data.is_folder:
        check_folder(definition.data.root)


def check_network(factory: str, checkpoint: str | Path | None = None) -> None:
    """Checks that a reference network has this name or the file of the user's own is there, and so is the checkpoint.

    Raises:
        NetworkError: if not.
    """
    if ":" not in factory and not factory.endswith(".py") and factory not in NETWORKS:
        raise NetworkError(
            f"unknown network {factory!r}{nearest(factory, NETWORKS)} (accepted: a name ({', '.join(NETWORKS)}), "
            f"torchvision:NAME, timm:NAME, path/to/file.py:FACTORY or package.module:FACTORY)"
        )
    _check_code(factory)
    if checkpoint is not None:
        check_checkpoint(Path(checkpoint))


def check_checkpoint(path: Path) -> None:
    """Checks that there is a file to read a network from.

    Raises:
        NetworkError: if not.
    """
    if not path.is_file():
        raise NetworkError(
            f"{path} is a folder and no checkpoint" if path.is_dir() else f"there is no checkpoint {path}"
        )


def check_data_set(name: str) -> None:
    """Checks that there is a data set of this name.

    Raises:
        DataError: if not.
    """
    if name not in DATA_SETS and Path(name).is_dir():
        raise DataError(
            f"{name} is a folder, but a data set's name is wanted ({', '.join(DATA_SETS)}): `branchfold init MODEL "
            f"--data {name}` looks at a network with images of yours"
        )
    if name not in DATA_SETS:
        raise DataError(f"unknown data set {name!r}{nearest(name, DATA_SETS)} (known: {', '.join(DATA_SETS)})")


def check_folder(root: str) -> None:
    """Checks that a folder of images is one.

    Raises:
        DataError: if not.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.root = {str(folder)!r} is no folder{' but a file' if folder.exists() else ''}")


def check_own_code(given: dict[str, str | None]) -> None:
    """Checks that the files are there in which options say that a factory, data or a task of the user's own is.

    Args:
        given: what each option was given.

    Raises:
        NetworkError: if one is missing.
    """
    for name in given.values():
        if name is not None:
            _check_code(name)


def _check_code(name: str) -> None:
    source = name.rpartition(":")[0]
    if source.endswith(".py") and not Path(source).expanduser().is_file():
        raise NetworkError(f"no such file: {source!r} (looked for {Path(source).expanduser().resolve()})")
