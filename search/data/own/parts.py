"""Splits of the user's own data: read by index from a data set, as a loader gives them, or held in memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data.dataloader import default_collate

from ....errors import DataError, typed_line
from ....models.tracing.inputs import tensors_of, with_tensors
from ...process.machine import available_memory
from ..part import Part
from .checks import described, signature

# Processes that read data sets whose tensors are not in memory already, unless the user's loader or `[data]` says.
WORKERS = 2
MEMORY_SHARE = 0.25
_CHUNK = 256


class OwnPart(Part):
    """A split that gives batches, raw as the user's code makes them."""

    name: str

    def passes(self, order: Tensor, batch_size: int, whole: int, generator: torch.Generator) -> Iterator[Any]:
        """Batches of examples in that order.

        Args:
            order: Places of the examples in this part.
            batch_size: Examples in a batch.
            whole: Batches wanted.
            generator: What the seeds of the processes that read are drawn from.

        Raises:
            DataError: If an item cannot be read, or is of another kind than the first.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class IndexedPart(OwnPart):
    """Items of a data set, by index.

    Attributes:
        dataset: With items (inputs, targets).
        indices: (N,) of those that belong to this part.
        name: Of the split.
        collate: Makes a batch of a list of items.
        workers: Processes that read.
    """

    dataset: Any
    indices: Tensor
    name: str
    collate: Callable[[list[Any]], Any]
    workers: int

    def __len__(self) -> int:
        return len(self.indices)

    def first(self, count: int) -> Self:
        return replace(self, indices=self.indices[:count])

    def last(self, count: int) -> Self:
        return replace(self, indices=self.indices[max(0, len(self) - count) :])

    def passes(self, order: Tensor, batch_size: int, whole: int, generator: torch.Generator) -> Iterator[Any]:
        chosen = [self.indices[places].tolist() for places in order.split(batch_size)[:whole]]
        loader: DataLoader[Any] = DataLoader(
            _Guarded(self.dataset),  # type: ignore[arg-type]
            batch_sampler=chosen,
            num_workers=min(self.workers, len(chosen)),
            collate_fn=_Collated(self.collate, self.name),
            generator=generator,
        )
        for batch in loader:
            if isinstance(batch, _Failure):
                raise DataError(batch.text)
            yield batch


@dataclass(frozen=True, eq=False)
class HeldPart(OwnPart):
    """Examples in memory, batched once.

    Attributes:
        batch: Of all of them; every tensor has the examples as its first dimension.
        count: Of examples.
        name: Of the split.
    """

    batch: Any
    count: int
    name: str

    def __len__(self) -> int:
        return self.count

    def first(self, count: int) -> Self:
        return self._part(slice(0, count))

    def last(self, count: int) -> Self:
        return self._part(slice(max(0, self.count - count), None))

    def _part(self, chosen: slice) -> Self:
        count = len(range(self.count)[chosen])
        return replace(self, batch=with_tensors(self.batch, lambda x: x[chosen]), count=count)

    def passes(self, order: Tensor, batch_size: int, whole: int, generator: torch.Generator) -> Iterator[Any]:
        for places in order.split(batch_size)[:whole]:
            yield with_tensors(self.batch, lambda x, places=places: x[places])  # type: ignore[misc]


@dataclass(frozen=True, eq=False)
class LoaderPart(OwnPart):
    """What a loader gives that has its own way of choosing examples; batch size and order are the loader's.

    Attributes:
        loader: The user's.
        name: Of the split.
        count: Examples of a pass.
    """

    loader: Any
    name: str
    count: int

    def __len__(self) -> int:
        return self.count

    def first(self, count: int) -> HeldPart:  # type: ignore[override]
        return _gathered(self.loader, count, self.name)

    last = first  # type: ignore[assignment]  # a stream has no end to look at

    def passes(self, order: Tensor, batch_size: int, whole: int, generator: torch.Generator) -> Iterator[Any]:
        yield from self.loader


def part_of(value: Any, name: str, *, workers: int | None, seed: int, limit: int | None) -> OwnPart:
    """A split of a data set or loader.

    A loader that takes its examples one after another or shuffled is its data set, its collation and its workers: the
    study has its own batch size and order. Any other is taken as it is.

    Args:
        value: The user's.
        name: Of the split.
        workers: Processes that read, as `[data]` says; None where it does not.
        seed: Of the order, so that any beginning is a fair sample.
        limit: Examples that remain, None for all.
    """
    if not isinstance(value, DataLoader):
        own = 0 if isinstance(value, TensorDataset) else WORKERS
        return _indexed(value, name, default_collate, own if workers is None else workers, seed, limit)
    plain = isinstance(value.sampler, SequentialSampler) or (
        isinstance(value.sampler, RandomSampler) and not value.sampler.replacement
    )
    if isinstance(value.dataset, IterableDataset) or value.batch_size is None or not plain:
        return LoaderPart(value, name, _examples(value))
    own = value.num_workers if workers is None else workers
    return _indexed(value.dataset, name, value.collate_fn, own, seed, limit)


def held(part: OwnPart) -> OwnPart:
    """The part in memory, where it fits there and can be taken apart again; else as it is.

    For splits that are judged on: their items are the same in every pass.
    """
    if not isinstance(part, IndexedPart):
        return part
    everything = torch.arange(len(part))
    first = next(part.passes(everything[:1], 1, 1, torch.Generator()))
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(first)) * len(part)
    free = available_memory()
    if free is not None and size > MEMORY_SHARE * free:
        return part
    batches = part.passes(everything, _CHUNK, -(-len(part) // _CHUNK), torch.Generator().manual_seed(0))
    return _joined(list(batches), len(part), part.name) or part


def _indexed(
    dataset: Any, name: str, collate: Callable[[list[Any]], Any], workers: int, seed: int, limit: int | None
) -> IndexedPart:
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed))
    return IndexedPart(dataset, order[:limit], name, collate, workers)


def _examples(loader: Any) -> int:
    try:
        return len(loader.dataset)
    except TypeError:
        return len(loader) * (loader.batch_size or 1)


def _gathered(loader: Iterable[Any], count: int, name: str) -> HeldPart:
    batches, there = [], 0
    for batch in loader:
        batches.append(batch)
        there += len(next(tensors_of(batch)))
        if there >= count:
            break
    part = _joined(batches, there, name)
    if part is None:
        raise DataError(f"batches of the {name} split differ in more than their number of examples")
    return part.first(count)


def _joined(batches: list[Any], count: int, name: str) -> HeldPart | None:
    try:
        batch = _concatenated(batches)
    except (RuntimeError, TypeError):  # of different shapes, or no tensors
        return None
    return HeldPart(batch, count, name) if all(len(x) == count for x in tensors_of(batch)) else None


def _concatenated(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, dict):
        return {key: _concatenated([value[key] for value in values]) for key in first}
    if isinstance(first, tuple | list):
        return tuple(_concatenated(list(parts)) for parts in zip(*values, strict=True))
    raise TypeError(type(first))


@dataclass(frozen=True)
class _Failure:
    text: str


class _Guarded:
    """A data set whose mistakes are items: what a worker process raises would come back as a page of text."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return index, self.dataset[index]
        except Exception as error:
            return index, _Failure(f"item {index} cannot be read: {typed_line(error)}")


class _Collated:
    """A batch of guarded items, or the first mistake among them."""

    def __init__(self, collate: Callable[[list[Any]], Any], name: str) -> None:
        self.collate, self.name = collate, name

    def __call__(self, items: list[tuple[int, Any]]) -> Any:
        for _, item in items:
            if isinstance(item, _Failure):
                return _Failure(f"{self.name} split: {item.text}")
        if self.collate is default_collate:
            first, (number, expected) = signature(items[0][1]), items[0]
            for index, item in items:
                if signature(item) != first:
                    return _Failure(
                        f"{self.name} split: item {index} is {described(item)}, item {number} is {described(expected)}"
                    )
        try:
            return self.collate([item for _, item in items])
        except Exception as error:
            kinds = described(items[0][1])
            return _Failure(f"{self.name} split: items {kinds} make no batch: {typed_line(error):.200}")
