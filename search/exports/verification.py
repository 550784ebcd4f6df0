"""Written files proved before they have their names: loaded in a fresh process, and compared with what was folded."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import BranchfoldError, NetworkError, VerificationError, typed_line
from ...models.examples import arguments, first_of
from ...models.networks.given import PREFIX
from ..trial.latency import Latency, compare_passes, one_thread
from .files.package import Package, Run, runs
from .formats import format_of

# Of the largest output; float32 gives some 1e-6 between runtimes.
TOLERANCE = 1e-4
# Examples in a batch: one that a graph may have taken for a constant, and one that is neither it nor the example's two.
BATCHES = (1, 7)
_JOB, _TENSORS, _FOUND = "job.json", "tensors.pt", "found.json"


class Draft(NamedTuple):
    """A file that was written.

    Attributes:
        form: its format's name.
        path: the name that it is to have.
        draft: the name that it has.
        full: the network before it was narrowed in the same format; None where its latency is not asked for.
    """

    form: str
    path: Path
    draft: Path
    full: Path | None = None


@dataclass(frozen=True)
class Verified:
    """What was found of a file.

    Attributes:
        difference: largest one to the folded network's outputs, as a share of the largest of these.
        runtime: what ran it, with its version.
        latency: there, beside the full network's; of graph formats.
    """

    difference: float
    runtime: str
    latency: Latency | None = None


def verify(drafts: Sequence[Draft], package: Package, factory: str | None, *, seconds: float) -> list[Verified]:
    """Loads each file in a fresh process and compares it with the folded network on real examples.

    Tensors for a network that a program handed over as an object are loaded in this process, which alone has it.

    Args:
        drafts: the files.
        package: that they were made from.
        factory: of the network, where it is the user's own.
        seconds: of a measurement of latency.

    Raises:
        VerificationError: if one differs by more than `TOLERANCE`.
        NetworkError: if its runtime cannot load or run it.
    """
    with tempfile.TemporaryDirectory(prefix="branchfold-") as name:
        folder = Path(name)
        with one_thread():
            wanted = [runs(package.network)(*first_of(package.inputs, batch)) for batch in BATCHES]
        torch.save(
            {"inputs": arguments(package.inputs), "raw": package.program_inputs, "wanted": wanted}, folder / _TENSORS
        )
        files = [{"form": d.form, "draft": str(d.draft), "full": d.full and str(d.full)} for d in drafts]
        apart, here = _parted(files, factory)
        found: dict[str, Any] = {}
        for some, check in ((apart, _in_fresh_process), (here, check_files)):
            if some:
                (folder / _JOB).write_text(json.dumps({"files": some, "factory": factory, "seconds": seconds}))
                check(folder)
                told = json.loads((folder / _FOUND).read_text())
                found.update(zip((file["draft"] for file in some), told, strict=True))
    return [_judged(draft, found[str(draft.draft)]) for draft in drafts]


def _parted(files: list[dict[str, Any]], factory: str | None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Files for a fresh process, and those for this one: which alone can build a network that it was given."""
    is_given = factory is not None and factory.startswith(PREFIX)
    here = [file for file in files if is_given and not format_of(file["form"]).graph]
    return [file for file in files if file not in here], here


def runtime_of(form: str) -> str:
    """What runs a format, with its version: "onnxruntime 1.32.0"."""
    package = format_of(form).runtime
    return f"{package} {version(package)}"


def check_files(folder: Path) -> None:
    """What the fresh process does: writes down for each file how far off and how fast it is, or why it does not run."""
    job = json.loads((folder / _JOB).read_text())
    tensors = torch.load(folder / _TENSORS, weights_only=True)
    found = [_checked(file, job, tensors) for file in job["files"]]
    (folder / _FOUND).write_text(json.dumps(found))


def _in_fresh_process(folder: Path) -> None:
    """Runs `check_files` in a process that shares nothing with this one but what it can import.

    Raises:
        NetworkError: if it does not come to its end.
    """
    # Not from the working directory: a user's own `onnx.py` lies there, or `types.py`.
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it said nothing")
        raise NetworkError(f"the process that checks the files ended with status {done.returncode}: {last:.300}")


def _checked(file: dict[str, Any], job: dict[str, Any], tensors: dict[str, Any]) -> dict[str, Any]:
    form = format_of(file["form"])
    inputs = tensors["raw" if form.graph else "inputs"]
    try:
        run = _loaded(file["form"], file["draft"], job["factory"])
        pairs = [
            (run(*first_of(inputs, batch)), wanted) for batch, wanted in zip(BATCHES, tensors["wanted"], strict=True)
        ]
        difference = _largest([difference_of(own, wanted) for own, wanted in pairs])
        latency = None
        if file["full"] is not None:
            full = _loaded(file["form"], file["full"], job["factory"])
            latency = compare_passes(run, full, first_of(inputs, 1), seconds=job["seconds"])._asdict()
    except BranchfoldError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a runtime raises
        return {"error": f"{form.runtime} cannot run {file['draft']}: {typed_line(error):.300}"}
    return {"difference": difference, "runtime": runtime_of(file["form"]), "latency": latency}


def _loaded(form: str, path: str, factory: str | None) -> Run:
    described = format_of(form)
    return described.read(Path(path), described.tell(Path(path)), factory)


def difference_of(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """The largest difference as a share of the largest output; infinite where outputs are missing, NaN at a NaN."""
    if [x.shape for x in found] != [x.shape for x in wanted]:
        return math.inf
    shares = []
    for own, other in zip(found, wanted, strict=True):
        scale = float(other.abs().max()) or 1.0
        shares.append(float((own.double() - other.double()).abs().max()) / scale)
    return _largest(shares)


def _largest(values: Sequence[float]) -> float:
    """The largest value, NaN if one is: `max` may pass over it."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def _judged(draft: Draft, told: dict[str, Any]) -> Verified:
    if "error" in told:
        text = told["error"].replace(str(draft.draft), str(draft.path))
        raise NetworkError(f"{text}; nothing is written")
    difference, latency = told["difference"], told["latency"]
    if not difference <= TOLERANCE:  # a NaN is none either
        raise VerificationError(
            f"{draft.path} differs from the folded network by {difference:.1e} of its largest output in "
            f"{told['runtime']}, more than {TOLERANCE:g}: nothing is written"
        )
    return Verified(difference, told["runtime"], None if latency is None else _latency(latency))


def _latency(told: dict[str, Any]) -> Latency:
    """A latency after its way through JSON, which has no tuples."""
    values: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in told.items()}
    return Latency(**values)


if __name__ == "__main__":
    check_files(Path(sys.argv[1]))
