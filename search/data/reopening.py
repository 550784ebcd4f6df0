"""The data that a file's description names, found again: where they were, and laid out as they were."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import DataError
from ...studies.definition.data_keys import FOLDER, DataTable
from ...studies.definition.places import DATA_ROOT
from .folder.scan import Folder, is_split
from .opening import Opened, OpenedFolder, open_data
from .splits import source_of


class UntrustedDataError(DataError):
    """Data that the user's own code makes, which a file cannot make run.

    Args:
        message: The line.
        name: Of the code, as the file has it.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


def whereabouts(table: DataTable) -> dict[str, Any]:
    """What a file says beside its data's keys of a folder of images: where it is, and whether each split has its own.

    Empty for other data.
    """
    if not table.is_folder:
        return {}
    root = Path(table.root).expanduser().absolute()
    return {"root": _without_home(root), "is_split": is_split(root)}


def _without_home(path: Path) -> str:
    """A path as a file tells it to whoever gets it: not whose home it lies in."""
    with suppress(RuntimeError):  # there is none
        if path.is_relative_to(home := Path.home()):
            return str(Path("~") / path.relative_to(home))
    return str(path)


def reopened(told: Mapping[str, Any], root: str | None, *, own: str | None = None) -> Opened:
    """The data set that a file's description names, opened.

    Args:
        told: The description's `data`.
        root: Folder of the data; None for where they were, or the default.
        own: What makes data of the user's own, where it may run: a file cannot make it run.

    Raises:
        UntrustedDataError: If the file names code of the user's own, and `own` is not given.
        DataError: If the description is damaged, or the data are not there, or have other classes or another layout.
    """
    name, keys, seed = told.get("name"), told.get("keys", {}), told.get("seed", 0)
    if isinstance(name, str) and ":" not in name and name != FOLDER:
        source_of(name)
    try:
        table = DataTable.model_validate({**keys, "name": name, "root": root or _root_of(told)})
    except (TypeError, ValidationError) as error:
        raise DataError(f"what the file says of its data is damaged: {name!r:.40}, {keys!r:.80}") from error
    if table.is_own:
        if own is None:
            raise UntrustedDataError(f"the data are made by {name}, which is not run unasked", table.name)
        table = table.model_copy(update={"name": own})
    opened = open_data(table, seed=seed if isinstance(seed, int) else 0)
    classes = told.get("classes")
    if isinstance(opened, OpenedFolder) and classes not in (None, list(opened.folder.classes)):
        raise DataError(f"the classes of {table.root} are not those that the network was trained on")
    if isinstance(opened, OpenedFolder):
        _check_layout(opened.folder, told.get("is_split"))
    return opened


def _root_of(told: Mapping[str, Any]) -> str:
    """Where the data were, if they are a folder of images and it is still there."""
    if told.get("name") != FOLDER:
        return DATA_ROOT
    root = told.get("root")
    if not isinstance(root, str):
        raise DataError("the file does not say in which folder its images are: name it with --data-root FOLDER")
    if not Path(root).expanduser().is_dir():
        raise DataError(f"the folder {root} that the network was trained on is gone: name it with --data-root FOLDER")
    return root


def _check_layout(folder: Folder, was_split: Any) -> None:
    """Refuses a folder whose test split would be images that the network was trained on."""
    if not isinstance(was_split, bool) or was_split == folder.is_split:  # earlier versions did not say
        return
    layouts = ("one folder for each class", "train, validation and test folders")
    raise DataError(
        f"{folder.root} has {layouts[folder.is_split]}, the network was trained on a folder with "
        f"{layouts[was_split]}: name that with --data-root FOLDER"
    )
