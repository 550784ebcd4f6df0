"""Where a file may be written: nothing that a study needs is ever overwritten, and nothing unknown unasked."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...errors import StudyError
from ...studies.database.places.addresses import database_file, is_sqlite, parse_url
from ...studies.database.places.locations import is_local
from ...studies.database.places.store import artifact_folder
from ...studies.database.places.whereabouts import located
from ...studies.definition.reading import Definition, builtin_studies
from ...studies.report.document import is_report
from .formats import FORMATS, format_of, is_export

# The first line of a model card, by which one is known that may be replaced.
MARK = "<!-- model card, written by branchfold -->"
# What SQLite keeps beside a database.
_BESIDE = ("-wal", "-shm", "-journal")


def places_for(forms: Sequence[str], output: Path | None, name: str) -> dict[str, Path]:
    """Where each format's file goes: one file at `output`, several into the folder `output`, by default of this name.

    Args:
        forms: names in `names.EXPORT_FORMATS`.
        output: as it was asked for.
        name: of a file without its suffix.

    Raises:
        StudyError: if a format is unknown, or the file has another one's suffix.
    """
    suffixes = {form: format_of(form).suffix for form in forms}
    if len(suffixes) > 1:
        folder = output or Path(name)
        return {form: folder / f"{name}.{suffix}" for form, suffix in suffixes.items()}
    (form, suffix), *_ = suffixes.items()
    path = output or Path(f"{name}.{suffix}")
    others = {".md", ".toml", ".db", ".py", *(f".{other.suffix}" for other in FORMATS.values())} - {f".{suffix}"}
    if path.suffix in others:
        raise StudyError(f"cannot write {path}: a file of the format {form} ends in .{suffix}; choose another --output")
    return {form: path}


def run_output(definition: Definition, output: Path | None) -> Path:
    """Where a run writes its best network: `output`, or a file of the study's name.

    Raises:
        StudyError: if the file has another format's suffix.
    """
    return places_for(["safetensors"], output, definition.study.name)["safetensors"]


def card_of(path: Path) -> Path:
    """Where the model card of a file lies; files that differ by their suffix have one together."""
    return path.with_suffix(".md")


def is_card(path: Path) -> bool:
    """Whether a file is a card that branchfold wrote."""
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False


def check_outputs(paths: Iterable[Path], *, url: str, sources: tuple[str, ...] = (), force: bool = False) -> None:
    """`check_output` of files that are to be written together, and of the model card beside them.

    Raises:
        StudyError: as `check_output`.
    """
    paths = list(paths)
    for path in paths:
        check_output(path, url=url, sources=sources, force=force)
    check_output(card_of(paths[0]), url=url, sources=sources, force=force, kind="model card")


def check_output(
    path: Path, *, url: str, sources: tuple[str, ...] = (), force: bool = False, kind: str = "network"
) -> None:
    """Refuses, before the work and not after it, a place where a file would do harm or cannot be written.

    Nothing is made yet: a folder that is missing comes with the file.

    Args:
        path: the file to write. One that is there is replaced if branchfold wrote it.
        url: of the study's database; it and its networks are never overwritten, by no name that leads to them.
        sources: paths of the files that the study is made from, likewise.
        force: whether another file that is there is replaced too.
        kind: what is to be written.

    Raises:
        StudyError: if the file must not be replaced, its folder cannot be created or written, or it is a folder.
    """
    for what, known in _needed(url, sources):
        if _same(path, known):
            raise StudyError(f"cannot write {path}: it is {what}; choose another --output")
    if is_local(folder := artifact_folder(located(url))) and _lies_in(path, folder):
        raise StudyError(f"cannot write {path}: the networks of studies lie there; choose another --output")
    _check_replaced(path, force, kind)
    folder = next(parent for parent in path.parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"{folder} is no folder" if isinstance(error, NotADirectoryError) else error.strerror
        raise StudyError(f"cannot write {path}: {reason}; choose another --output") from error


def sources_of(definition: Definition, study: str | None = None) -> tuple[str, ...]:
    """The files that a study is made from: its checkpoint, its factory's, and the definition if `study` is its path."""
    found = [definition.baseline.checkpoint, definition.model.factory.rpartition(":")[0]]
    if study is not None and study not in builtin_studies():
        found.append(study)
    return tuple(file for file in found if file and Path(file).is_file())


def _needed(url: str, sources: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    address = parse_url(url)
    if is_sqlite(address):
        database = database_file(address)
        yield "the study database", database
        for suffix in _BESIDE:
            yield "part of the study database", database.with_name(database.name + suffix)
    for source in sources:
        yield "what the study is made from", Path(source)


def _same(path: Path, known: Path) -> bool:
    """Whether two paths are one file: by name, through links of either kind, or spelled otherwise."""
    try:
        return path.resolve() == known.resolve() or path.samefile(known)
    except (OSError, RuntimeError):  # one of them is missing, or a link to itself
        return False


def _lies_in(path: Path, folder: Path) -> bool:
    try:
        inside, resolved = folder.resolve(), path.resolve()
        if inside == resolved or inside in resolved.parents:
            return True
        there = path.stat()
        return there.st_nlink > 1 and any(os.path.samestat(there, file.stat()) for file in folder.iterdir())
    except (OSError, RuntimeError):
        return False


def _check_replaced(path: Path, force: bool, kind: str) -> None:
    if path.is_dir():
        raise StudyError(f"cannot write {path}: it is a folder; choose another --output")
    if not os.path.lexists(path):
        return
    if path.exists() and not path.is_file():
        raise StudyError(f"cannot write {path}: it is no ordinary file; choose another --output")
    if is_export(path) or is_card(path) or is_report(path):
        return
    if path.suffix == ".toml":
        raise StudyError(f"cannot write {path}: it may be a study's definition; choose another --output")
    if not force:
        raise StudyError(
            f"cannot write {path}: it is there, and no {kind} that branchfold wrote; "
            f"choose another --output, or replace it with --force"
        )
