"""The formats of exported networks; a new one is a file beside this, its entry here and its name in `names`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import NetworkError, StudyError, nearest
from ...models.checkpoints import is_checkpoint
from .onnx_file import check_onnx, read_onnx, tell_onnx, write_onnx
from .package import AS_IT_IS, Content, Options, Package, Run
from .pt2_file import read_pt2, tell_pt2, write_pt2
from .safetensors_file import read_safetensors, tell_safetensors, write_safetensors
from .state_dict import read_state_dict, tell_state_dict, write_state_dict


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
        check: refuses where what it needs is not installed.
    """

    suffix: str
    write: Callable[[Package, Path], None]
    read: Callable[[Path, Content, str | None], Run]
    tell: Callable[[Path], Content]
    runtime: str = "torch"
    graph: bool = False
    unpickles: bool = False
    check: Callable[[], None] = lambda: None


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", write_safetensors, read_safetensors, tell_safetensors),
    "state-dict": Format("pt", write_state_dict, read_state_dict, tell_state_dict),
    "pt2": Format("pt2", write_pt2, read_pt2, tell_pt2, graph=True, unpickles=True),
    "onnx": Format("onnx", write_onnx, read_onnx, tell_onnx, runtime="onnxruntime", graph=True, check=check_onnx),
}


def format_of(name: str) -> Format:
    """The format of a name in `names.EXPORT_FORMATS`.

    Raises:
        StudyError: if there is none.
    """
    if name not in FORMATS:
        raise StudyError(f"unknown format {name!r}{nearest(name, FORMATS)} (known: {', '.join(FORMATS)})")
    return FORMATS[name]


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
        format_of(form).check()


def name_by_suffix(path: Path) -> str:
    """The name of the format that a file's suffix tells; safetensors of another one, which then says what it lacks."""
    return next((name for name, form in FORMATS.items() if path.suffix == f".{form.suffix}"), "safetensors")


def is_export(path: Path) -> bool:
    """Whether branchfold wrote a file: its suffix's format finds a description in it."""
    if is_checkpoint(path):
        return True
    try:
        FORMATS[name_by_suffix(path)].tell(path)
    except (NetworkError, StudyError):
        return False
    return True
