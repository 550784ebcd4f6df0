"""What a file is worth: its metric on the test split, its cost, its latency beside the full network's."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from ...errors import StudyError
from ...models.checkpoints import NetworkDescription, trusted_factory
from ...models.cost import CostModel
from ...models.examples import arguments, first_of, placed, zeros_like
from ...models.networks.factories import resolve_factory
from ...studies.metric import Metric
from ...studies.statistics import Interval
from ..tasks.task import Task
from ..trial.latency import Latency, compare_passes
from ..trial.measurement import Judgement, judged
from .files.package import Content, Package, Run, runs
from .formats import Format, check_installed, format_of, name_by_suffix
from .held_out import HeldOut, Place
from .options import Options
from .verification import runtime_of

# Of a measurement of latency: an export may take longer than a trial's.
LATENCY_SECONDS = 1.0


@dataclass(frozen=True)
class Evaluation:
    """What was measured of an exported network.

    Attributes:
        metric: what was measured.
        value: of the metric on the test split.
        interval: the value's 95 % confidence interval, since nothing was chosen by the test split; None where it has
            none.
        split: name of the split.
        examples: how many it has.
        seed: of the study that the network comes from; the test split does not depend on it.
        macs: of one example's forward pass.
        parameters: their number.
        full_macs: the network's before it was narrowed.
        full_parameters: likewise.
        latency: of one example's forward pass, in turn with the network's before it was narrowed.
        runtime: what ran both, with its version.
    """

    metric: Metric
    value: float
    interval: Interval | None
    split: str
    examples: int
    seed: int | None
    macs: int
    parameters: int
    full_macs: int
    full_parameters: int
    latency: Latency
    runtime: str

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON types."""
        latency = self.latency._asdict()
        milliseconds = latency.pop("milliseconds")
        told = {**asdict(self), "metric": self.metric.name, "interval": self.interval and list(self.interval)}
        return {**told, "milliseconds": milliseconds, "latency": latency}


def evaluate_file(
    path: Path,
    place: Place,
    factory: str | None,
    *,
    task: str | None = None,
    known: Callable[[str], bool] = lambda digest: False,
    trust: bool = False,
) -> tuple[NetworkDescription, Evaluation]:
    """Loads an exported file of any format and measures it on the test split of the data that it was trained on.

    Args:
        path: a file that branchfold wrote.
        place: of the data set.
        factory: the user's own factory, where the network is neither a reference network nor torchvision's.
        task: the user's own, where the network is for one.
        known: whether a file of this SHA-256 was exported here.
        trust: whether a file that may run code while it is loaded is loaded unknown.

    Raises:
        StudyError: if it may run code, and is neither known nor trusted.
        NetworkError: if the file is damaged or its network cannot be rebuilt.
        DataError: if the test split cannot be had.
    """
    name = name_by_suffix(path)
    form, content = format_of(name), tell_of(path)
    if form.unpickles and not trust and not known(digest_of_file(path)):
        raise StudyError(
            f"{path} unpickles what it contains, and no export of this study database has its SHA-256: "
            f"only if you know where it comes from, --trust"
        )
    description = content.description
    build = resolve_factory(trusted_factory(description, factory, path))
    data = HeldOut.of(description, place, build(**description.arguments))
    return description, evaluate(form.read(path, content, factory), content, name, build, data)


def tell_of(path: Path) -> Content:
    """What a file of any format says of itself.

    Raises:
        NetworkError: if there is no such file, or it says nothing.
        StudyError: if what its format needs is not installed.
    """
    name = name_by_suffix(path)
    check_installed(name)
    form = format_of(name)
    # Only the first of the formats has a message of its own for what is no file.
    return (form if path.is_file() else format_of("safetensors")).tell(path)


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def evaluate(run: Run, content: Content, form: str, build: Callable[..., nn.Module], data: HeldOut) -> Evaluation:
    """Measures what a file runs.

    Args:
        run: the loaded file.
        content: what it says of itself.
        form: its format's name.
        build: the network's factory.
        data: to measure on.
    """
    description, options = content
    whole = build(**description.arguments).eval()
    costs = CostModel(whole, placed(zeros_like(description.input_shape, 1), whole))
    cost = costs.cost(description.widths)
    judged = _judged(run, data.raw_batches() if options.with_normalisation else data.batches(), data.task)
    metric, examples = data.task.metric, len(data.split)
    return Evaluation(
        metric=metric,
        value=judged.value,
        interval=metric.interval(judged.value, examples, judged.array),
        split=data.split.name,
        examples=examples,
        seed=next((entry.get("seed") for entry in description.metrics), None),
        macs=cost.macs,
        parameters=cost.parameters,
        full_macs=costs.full.macs,
        full_parameters=costs.full.parameters,
        latency=_latency(run, whole.to(data.dtype), content, format_of(form), data),
        runtime=runtime_of(form),
    )


def write_full(
    whole: nn.Module, description: NetworkDescription, options: Options, form: Format, data: HeldOut, path: Path
) -> None:
    """Writes the network before it was narrowed in a format, to be timed beside the narrow one.

    Raises:
        NetworkError: if it cannot be written so.
    """
    raw, inputs = data.examples()
    form.write(Package(whole, replace(description, widths={}), raw, inputs, options), path)


def _latency(run: Run, whole: nn.Module, content: Content, form: Format, data: HeldOut) -> Latency:
    raw, inputs = data.examples()
    example = first_of(raw if content.options.with_normalisation else inputs, 1)
    if not form.graph:
        return compare_passes(run, runs(whole), example, seconds=LATENCY_SECONDS)
    with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
        file = Path(folder) / f"full.{form.suffix}"
        write_full(whole, content.description, content.options, form, data, file)
        full = form.read(file, content, None)
        return compare_passes(run, full, example, seconds=LATENCY_SECONDS)


def _judged(run: Run, batches: Iterable[tuple[Any, Any]], task: Task) -> Judgement:
    judge = task.judge()
    for inputs, targets in batches:
        given = run(*arguments(inputs))
        judge.add(given[0] if len(given) == 1 else given, task.targets(inputs, targets))
    return Judgement(judge.value(), judge.scores())


def judged_on_test(network: nn.Module, description: NetworkDescription, place: Place) -> Judgement:
    """How a network does on the test split of the data that it was trained on; arguments as for `HeldOut.of`.

    Raises:
        DataError: if the split cannot be had.
    """
    held = HeldOut.of(description, place, network)
    return judged(network, held.batches(), held.task)
