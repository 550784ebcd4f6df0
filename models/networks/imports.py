"""Importing a user's own files and modules, whose names may be those of modules that are already loaded."""

import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from ...errors import NetworkError, typed_line

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
_OWN_NAME = __name__.partition(".")[0]


def load_file(path: str) -> tuple[ModuleType, Path]:
    """Import a Python file under a private name, with the modules in its own folder importable.

    Args:
        path: The file's path, relative to the working directory or absolute.

    Returns:
        The module, which stays in ``sys.modules`` and is imported once for each content of the file, and its folder.

    Raises:
        NetworkError: If there is no such file or its import fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise NetworkError(f"no such file: {path!r} (looked for {file})")
    digest = hashlib.sha256(str(file).encode() + b"\0" + file.read_bytes()).hexdigest()
    name = f"_{_OWN_NAME}_factory_{digest[:16]}"
    if name in sys.modules:
        return sys.modules[name], file.parent
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NetworkError(f"not a Python file: {path!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with importable(file.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise NetworkError(_failure(path, file, error)) from error
    return module, file.parent


def load_module(name: str) -> tuple[ModuleType, Path]:
    """Import a module by its dotted name, with the modules in the working directory importable.

    Args:
        name: The module's name, such as ``package.module``.

    Returns:
        The module and the working directory.

    Raises:
        NetworkError: If there is no such module or its import fails.
    """
    folder = Path.cwd()
    if not all(part.isidentifier() for part in name.split(".")):
        raise NetworkError(f"{name!r} is neither a .py file nor a module's name such as package.module")
    try:
        with importable(folder):
            return importlib.import_module(name), folder
    except (Exception, SystemExit) as error:
        raise NetworkError(_failure(name, None, error)) from error


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let imports find the modules in a folder first, as if Python had been started on a file in it.

    A module of the same name that was loaded from elsewhere, such as the ``models`` of another project, is forgotten
    (not unloaded: what uses it keeps it). Modules of the standard library and installed ones stay as they are.
    """
    _forget_namesakes(folder)
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's own code may have tidied it away
            sys.path.remove(str(folder))


def _forget_namesakes(folder: Path) -> None:
    inside = {entry.stem for entry in folder.iterdir() if entry.suffix == ".py" or entry.is_dir()}
    for name in inside & set(sys.modules) - {_OWN_NAME, "__main__"}:
        if any(_is_foreign(place, folder) for place in _places(sys.modules[name])):
            for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[loaded]


def _places(module: ModuleType) -> list[Path]:
    """Where a module lies: its file, or the folders of a package without one; nothing if it is built in."""
    file = getattr(module, "__file__", None)
    found = [file] if file else list(getattr(module, "__path__", []))
    return [Path(place).resolve() for place in found]


def _is_foreign(place: Path, folder: Path) -> bool:
    installed = place.is_relative_to(_STANDARD_LIBRARY) or {"site-packages", "dist-packages"} & set(place.parts)
    return not installed and not place.is_relative_to(folder)


def _failure(shown: str, file: Path | None, error: BaseException) -> str:
    line = ""
    if file is not None:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        if isinstance(error, SyntaxError) and error.filename == str(file):
            lines = [error.lineno]
        line = f", line {lines[-1]}" if lines else ""
    return f"cannot import {shown}{line}: {typed_line(error)}"
