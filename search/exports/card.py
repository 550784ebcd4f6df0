"""The model card: what a file is, where it comes from, what it is worth and how to use it, in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.checkpoints import NetworkDescription
from ...models.networks.given import PREFIX
from ...studies.metric import Metric
from ...studies.tables.words import size_text
from ..trial.latency import Latency
from .evaluation import Evaluation
from .files.onnx_file import OPSET
from .options import Options
from .places import MARK
from .verification import Verified


@dataclass(frozen=True)
class ExportedFile:
    """A file that an export wrote, or is about to.

    Attributes:
        form: its format's name.
        path: of the file.
        size: in bytes.
        verified: what was found of it.
        digest: its SHA-256.
        options: that the network was changed with.
    """

    form: str
    path: Path
    size: int
    verified: Verified
    digest: str
    options: Options

    def to_dict(self) -> dict[str, Any]:
        """What a study keeps of it, in JSON types."""
        latency = self.verified.latency
        return {
            "file": self.path.name,
            "format": self.form,
            "size": self.size,
            "difference": self.verified.difference,
            "runtime": self.verified.runtime,
            "latency": None if latency is None else latency._asdict(),
            "fuse": self.options.fuse,
            "with_normalisation": self.options.with_normalisation,
        }


def model_card(
    description: NetworkDescription,
    evaluation: Evaluation,
    full_widths: dict[str, int],
    tensors: int,
    files: Sequence[ExportedFile] = (),
) -> str:
    """The card as Markdown.

    Args:
        description: of the network, with its metrics and origin.
        evaluation: what was measured of it.
        full_widths: group name → channels before it was narrowed.
        tensors: bytes of its parameters and buffers.
        files: that hold it; their section is left out where there are none.
    """
    sections = [
        [MARK, f"# {_title(description)}"],
        _from_what(description, evaluation.metric),
        _recipe(description.origin.get("recipe")),
        [f"## {evaluation.metric.name}", *_metrics(description, evaluation.metric)],
        _cost(evaluation, tensors),
        _files(files),
        _widths(description, full_widths),
        _use(description, files),
        ["## Versions", ", ".join(f"{name} {found}" for name, found in description.versions.items())],
    ]
    return "\n\n".join(line for section in sections for line in section) + "\n"


def latency_text(latency: Latency, runtime: str) -> str:
    """A latency in one line, with its runtime and threads, beside the full network's in the same run."""
    threads = "one thread" if latency.threads == 1 else f"{latency.threads} threads"
    many = "one example" if latency.batch == 1 else f"{latency.batch} examples"
    full = "" if latency.full_milliseconds is None else f" of the full network's {latency.full_milliseconds:.3f} ms"
    low, high = latency.share_quartiles
    unsure = ", unsure" if latency.unsure else ""
    return (
        f"{latency.milliseconds:.3f} ms in {runtime}, {many} on {threads}: {_percent(latency.share)}{full} "
        f"(interquartile range {100 * low:.1f} to {_percent(high)}{unsure})"
    )


def share_text(difference: float) -> str:
    """A difference as a share, "1.5e-06", or "0" where there is none."""
    return f"{difference:.1e}" if difference else "0"


def _title(description: NetworkDescription) -> str:
    origin = description.origin
    if "study" not in origin:
        return _named_network(description)
    return f"{_named_network(description)}, trial {origin.get('trial')} of study {origin['study']}"


def _named_network(description: NetworkDescription) -> str:
    """The factory; of a network that a program handed over as an object, that it was."""
    return "a network given as an object" if description.factory.startswith(PREFIX) else description.factory


def _network_text(description: NetworkDescription) -> str:
    """The network as a sentence begins with it."""
    if not description.factory.startswith(PREFIX):
        return f"A `{description.factory}`"
    return (
        f"A network that a program handed over as an object (digest {description.factory.removeprefix(PREFIX)}; "
        f"who loads it names what builds such a one)"
    )


def _from_what(description: NetworkDescription, metric: Metric) -> list[str]:
    arguments = ", ".join(f"{name} = {value!r}" for name, value in description.arguments.items())
    lines = [
        f"{_network_text(description)}{f' ({arguments})' if arguments else ''} for {_shape(description)}, "
        f"trained on {description.data.get('name')} and narrowed by branchfold: branches took over from its "
        f"layers and were folded into them."
    ]
    origin = description.origin
    if "study" in origin:
        lines.append(f"From study `{origin['study']}`, trial {origin.get('trial')}{_repeats(origin)}.")
    if isinstance(baseline := origin.get("baseline"), dict) and {"metric", "examples", "source"} <= baseline.keys():
        lines.append(
            f"The full network ({baseline['source']}): {metric.text(baseline['metric'])} on "
            f"{baseline['examples']} validation examples."
        )
    return lines


def _repeats(origin: Mapping[str, Any]) -> str:
    """Which trial of the study itself a refined one repeats."""
    repeats = origin.get("repeats")
    if not isinstance(repeats, dict):
        return ""
    study = str(origin["study"]).removesuffix("-refined")
    return f": trial {repeats.get('trial')} of `{study}`, trained again on seed {repeats.get('seed')}"


def _recipe(words: Any) -> list[str]:
    if not isinstance(words, list) or not words:
        return []
    return ["## Recipe", "\n".join(f"- {word}" for word in words)]


def _metrics(description: NetworkDescription, metric: Metric) -> list[str]:
    rows = [f"| split | {metric.name} | examples | 95 % interval |", "| --- | --- | --- | --- |"]
    for entry in description.metrics:
        if not isinstance(entry.get("value"), int | float):
            continue
        interval = entry.get("interval")
        among = entry.get("selected_among")
        told = metric.interval_text(*interval) if interval else "none"
        if not interval and among:
            told = f"none: selected among {among} by these examples"
        rows.append(f"| {entry.get('split')} | {metric.text(entry['value'])} | {entry.get('examples')} | {told} |")
    return ["\n".join(rows)]


def _cost(evaluation: Evaluation, tensors: int) -> list[str]:
    rows = [
        "| | this network | the full one |",
        "| --- | --- | --- |",
        f"| MACs of one example | {evaluation.macs:,} ({_percent(evaluation.macs / evaluation.full_macs)}) | "
        f"{evaluation.full_macs:,} |",
        f"| parameters | {evaluation.parameters:,} "
        f"({_percent(evaluation.parameters / evaluation.full_parameters)}) | {evaluation.full_parameters:,} |",
    ]
    return [
        "## Cost",
        "\n".join(rows),
        f"Its tensors are {size_text(tensors)}. Latency: {latency_text(evaluation.latency, evaluation.runtime)}.",
    ]


def _files(files: Sequence[ExportedFile]) -> list[str]:
    if not files:
        return []
    rows = ["| file | size | difference | latency | changed |", "| --- | --- | --- | --- | --- |"]
    for file in files:
        found = file.verified
        latency = "as above" if found.latency is None else latency_text(found.latency, found.runtime)
        changes = {"BatchNorm folded in": file.options.fuse, "normalises uint8": file.options.with_normalisation}
        changed = ", ".join(name for name, is_so in changes.items() if is_so) or "nothing"
        rows.append(
            f"| `{file.path.name}` | {size_text(file.size)} | {share_text(found.difference)} | {latency} | {changed} |"
        )
    about = (
        "Each file was loaded in a fresh process and compared with the folded network on real examples, at batches of "
        "1 and 7: the difference is the largest one, as a share of the largest output."
    )
    return ["## Files", "\n".join(rows), about]


def _widths(description: NetworkDescription, full: dict[str, int]) -> list[str]:
    rows = ["| group of channels | full | kept |", "| --- | --- | --- |"]
    rows += [f"| `{name}` | {width} | {description.widths.get(name, width)} |" for name, width in full.items()]
    return ["## Widths", "\n".join(rows)]


def _use(description: NetworkDescription, files: Sequence[ExportedFile]) -> list[str]:
    by_form, about = {file.form: file for file in files}, {"factory": description.factory}
    lines = ["## How to load and deploy it", _input_text(description)]
    for form, text in _LOADING.items():
        if form in by_form or (not files and form == "safetensors"):
            name = by_form[form].path.name if form in by_form else "FILE.safetensors"
            own = description.factory.startswith(PREFIX)
            lines.append((_LOADING_OWN if own else _LOADING).get(form, text).format(file=name, opset=OPSET, **about))
    return [*lines, *_TAKING_UINT8] if any(file.options.with_normalisation for file in files) else lines


def _input_text(description: NetworkDescription) -> str:
    data = description.data
    mean, std = (", ".join(f"{x:.4f}" for x in data.get(key) or []) for key in ("mean", "std"))
    if not mean:
        return f"It takes batches of {_shape(description)} as its data have them."
    return (
        f"It takes {description.dtype} batches of {_shape(description)} images scaled to [0, 1], less the mean "
        f"({mean}), divided by the standard deviation ({std}), each by channel."
    )


def _shape(description: NetworkDescription) -> str:
    sizes = description.input_shape
    return "×".join(map(str, sizes)) if all(isinstance(size, int) for size in sizes) else "several inputs"


_LOADING = {
    "safetensors": '`{file}`: `branchfold.models.load_network("{file}")` gives the network, a plain `nn.Module`.',
    "state-dict": (
        '`{file}`: `torch.load("{file}", weights_only=True)` gives the tensors by name, for a `{factory}` at '
        "the widths above: `branchfold.models.narrow(network, widths, example_inputs)` makes one of the full network."
    ),
    "pt2": (
        '`{file}`: `torch.export.load("{file}").module()`, with torch alone. This unpickles what the file contains: '
        "load it only where you know who made it."
    ),
    "onnx": (
        '`{file}`: `onnxruntime.InferenceSession("{file}").run(None, {{"input": images}})`, with onnxruntime or '
        "another runtime of ONNX (opset {opset}, a batch of any size)."
    ),
}
# Of a network that came as an object, which no name leads to.
_LOADING_OWN = {
    "safetensors": (
        '`{file}`: `branchfold.models.load_network("{file}", factory=make)` gives the network, a plain `nn.Module`; '
        "`make()` builds the full one."
    ),
    "state-dict": (
        '`{file}`: `torch.load("{file}", weights_only=True)` gives the tensors by name, for your network at '
        "the widths above: `branchfold.models.narrow(network, widths, example_inputs)` makes one of the full network."
    ),
}
_TAKING_UINT8 = ["The files that normalise take the images themselves instead, as uint8 from 0 to 255."]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
