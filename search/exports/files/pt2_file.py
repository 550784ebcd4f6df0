"""The program of `torch.export`, for torch without the network's code; to load one is to unpickle what it holds."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ....errors import NetworkError, typed_line
from ....models.examples import first_of
from ....models.tracing.inputs import with_tensors
from .package import Content, Package, Run, parse_content, runs
from .record import RECORD, find_record


def write_pt2(package: Package, path: Path) -> None:
    """Writes the program with a batch dimension of any size, and the description beside it.

    Raises:
        NetworkError: if torch cannot export the network.
    """
    example = first_of(package.program_inputs, 2)
    text = Content(package.description, package.options).to_json()
    try:
        with quiet_torch(), torch.no_grad():
            batch = torch.export.Dim("batch", min=1)
            shapes = with_tensors(example, lambda x: {0: batch})  # type: ignore[arg-type, return-value]
            program = torch.export.export(package.program, example, dynamic_shapes=shapes)
            with path.open("wb") as file:
                torch.export.save(program, file, extra_files={RECORD: text})
    except OSError:
        raise
    except Exception as error:  # whatever the network's code does under torch.export
        raise NetworkError(f"torch.export cannot take {_name(package)}: {typed_line(error):.300}") from error


def read_pt2(path: Path, content: Content, factory: str | None) -> Run:
    """The program. It may run any code while it is loaded: of a file that is known or trusted alone.

    Raises:
        NetworkError: if the file is damaged.
    """
    try:
        with quiet_torch():
            return runs(torch.export.load(io.BytesIO(path.read_bytes())).module())
    except Exception as error:  # whatever a damaged byte leads to
        raise NetworkError(f"torch.export cannot load {path}: {typed_line(error):.300}") from error


def tell_pt2(path: Path) -> Content:
    """What the archive says; nothing is unpickled.

    Raises:
        NetworkError: if it says nothing, or what it says is damaged.
    """
    return parse_content(find_record(path), path)


@contextmanager
def quiet_torch() -> Iterator[None]:
    """Without what torch's exporters log of their own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch._export", "torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _name(package: Package) -> str:
    return type(package.network).__name__
