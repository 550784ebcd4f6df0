"""The formats of exported networks; a new one is a file beside this, its entry here and its name in `names`.

Asking for a format and finding its files needs no torch: what writes and reads them is imported by its first call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import NetworkError, StudyError, nearest
from .files.record import ARCHIVES, find_record, is_described
from .options import AS_IT_IS, Options

if TYPE_CHECKING:
    from .files.package import Content, Package, Run


class Format(NamedTuple):
    """How a network becomes a file, and a file runs.

    Attributes:
        suffix: of the file, without the dot.
        write: puts a package at a path.
        read: the file as what runs, by its content and the user's own factory.
        tell: what the file says of itself; runs nothing of it.
        runtime: package that runs it.
        graph: whether it holds a graph instead of tensors for the network's code: options change it, and it has a
            latency of its own.
        unpickles: whether reading it may run any code.
        needs: packages that branchfold does without otherwise.
    """

    suffix: str
    write: Callable[[Package, Path], None]
    read: Callable[[Path, Content, str | None], Run]
    tell: Callable[[Path], Content]
    runtime: str = "torch"
    graph: bool = False
    unpickles: bool = False
    needs: tuple[str, ...] = ()


def _of(module: str, name: str) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """The functions `write_NAME`, `read_NAME` and `tell_NAME` of the module beside this."""

    def later(verb: str) -> Callable[..., Any]:
        return lambda *arguments: getattr(import_module(f".files.{module}", __package__), f"{verb}_{name}")(*arguments)

    return later("write"), later("read"), later("tell")


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", *_of("safetensors_file", "safetensors")),
    "state-dict": Format("pt", *_of("state_dict", "state_dict")),
    "pt2": Format("pt2", *_of("pt2_file", "pt2"), graph=True, unpickles=True),
    "onnx": Format(
        "onnx",
        *_of("onnx_file", "onnx"),
        runtime="onnxruntime",
        graph=True,
        needs=("onnx", "onnxscript", "onnxruntime"),
    ),
}


def format_of(name: str) -> Format:
    """The format of a name in `names.EXPORT_FORMATS`.

    Raises:
        StudyError: if there is none.
    """
    if name not in FORMATS:
        raise StudyError(f"unknown format {name!r}{nearest(name, FORMATS)} (known: {', '.join(FORMATS)})")
    return FORMATS[name]


def check_installed(name: str) -> None:
    """Checks that what a format needs is installed.

    Raises:
        StudyError: if a package is missing, or there is no such format.
    """
    missing = [package for package in format_of(name).needs if find_spec(package) is None]
    if missing:
        raise StudyError(f"the format {name} needs {', '.join(missing)}: pip install {' '.join(missing)}")


def check_options(forms: Sequence[str], options: Options) -> None:
    """Checks that something is changed by the options, and that what the formats need is installed.

    Raises:
        StudyError: if none of the formats holds a graph, or a package is missing.
    """
    graphs = [name for name, form in FORMATS.items() if form.graph]
    if options != AS_IT_IS and not set(graphs) & set(forms):
        wanted = " and ".join(f"--format {name}" for name in graphs)
        raise StudyError(f"--fuse and --with-normalisation change a graph: they are for {wanted}")
    for form in forms:
        check_installed(form)


def name_by_suffix(path: Path) -> str:
    """The name of the format that a file's suffix tells; safetensors of another one, which then says what it lacks."""
    return next((name for name, form in FORMATS.items() if path.suffix == f".{form.suffix}"), "safetensors")


def is_network_file(path: Path) -> bool:
    """Whether a path means a file with a network: by its suffix, or since it is one."""
    return any(path.suffix == f".{form.suffix}" for form in FORMATS.values()) or (path.is_file() and is_export(path))


def is_export(path: Path) -> bool:
    """Whether branchfold wrote a file: there is a description in it."""
    if is_described(path):
        return True
    name = name_by_suffix(path)
    if name == "safetensors":
        return False
    if FORMATS[name].suffix in ARCHIVES:
        return find_record(path) is not None
    try:
        check_installed(name)
        FORMATS[name].tell(path)
    except (NetworkError, StudyError):
        return False
    return True
