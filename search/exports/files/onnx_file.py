"""ONNX, for onnxruntime and whatever else reads it: written by torch's exporter of `torch.export` programs."""

import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....errors import NetworkError, typed_line
from ....models.examples import first_of
from ....models.tracing.inputs import tensors_of, with_tensors
from .package import Content, Package, Run, parse_content, runs
from .pt2_file import quiet_torch
from .record import KEY

# torch 2.8 to 2.14 write it, and every onnxruntime since 1.17 (2024) reads it.
OPSET = 20
INPUT, OUTPUT, BATCH = "input", "output", "batch"


def write_onnx(package: Package, path: Path) -> None:
    """Writes the graph with the input `input`, the output `output` and a batch of any size, all in one file.

    Several inputs are called input_0, input_1 and so on, several outputs likewise.

    Raises:
        NetworkError: if torch cannot write the network as ONNX.
    """
    example = first_of(package.program_inputs, 2)
    count, given = len(runs(package.program)(*example)), len(list(tensors_of(example)))
    inputs = [INPUT] if given == 1 else [f"{INPUT}_{index}" for index in range(given)]
    outputs = [OUTPUT] if count == 1 else [f"{OUTPUT}_{index}" for index in range(count)]
    try:
        # The exporter tells users of its own deprecations, and prints its progress.
        with quiet_torch(), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                package.program,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=with_tensors(example, lambda x: {0: BATCH}),  # type: ignore[arg-type, return-value]
                external_data=False,
                verbose=False,
            )
            assert program is not None, "the exporter of torch.export programs gives one"
            program.model.metadata_props[KEY] = Content(package.description, package.options).to_json()
            program.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:  # whatever the network's code does under torch.export, or ONNX has no word for
        raise NetworkError(
            f"torch cannot write {type(package.network).__name__} as ONNX: {typed_line(error):.300}"
        ) from error


def read_onnx(path: Path, content: Content, factory: str | None) -> Run:
    """A session of onnxruntime on one thread.

    Raises:
        NetworkError: if onnxruntime cannot load the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise NetworkError(f"onnxruntime cannot load {path}: {typed_line(error):.300}") from error
    names = [given.name for given in session.get_inputs()]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = {name: np.ascontiguousarray(x.numpy()) for name, x in zip(names, tensors_of(inputs), strict=True)}
        return tuple(torch.from_numpy(x) for x in session.run(None, given))

    return run


def tell_onnx(path: Path) -> Content:
    """What the model's metadata say.

    Raises:
        NetworkError: if it is no ONNX file, says nothing, or what it says is damaged.
    """
    import onnx

    try:
        model: Any = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's, or of the file system
        raise NetworkError(f"{path} is no ONNX file: {typed_line(error):.200}") from error
    return parse_content({entry.key: entry.value for entry in model.metadata_props}.get(KEY), path)
