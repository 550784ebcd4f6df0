"""Digests of objects that a program hands over, so that a study goes on with the same ones alone."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.networks.given import digest_of_module

# Of what lies deeper no more is known than its class.
_DEPTH = 6


def digest_of_values(*values: Any) -> str:
    """The first 16 hexadecimal digits of SHA-256 over values: numbers, texts, arrays, networks, and what holds them.

    Of anything else its class and its attributes count. Addresses do not, so that it is the same in every process.
    """
    digest = hashlib.sha256()
    for value in values:
        for part in _parts(value, 0):
            digest.update(part)
            digest.update(b";")
    return digest.hexdigest()[:16]


@contextmanager
def seeded() -> Iterator[None]:
    """Random numbers of Python, NumPy and torch that are the same at every entry; those outside go on as before."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def class_name(value: Any) -> str:
    """A value's class with its module."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    """A value as bytes, its class first."""
    yield class_name(value).encode()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        yield repr(value).encode()
    elif isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype} {value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, nn.Module):
        yield digest_of_module(value).encode()
    elif callable(value) and hasattr(value, "__qualname__"):  # a function or a class
        yield f"{value.__module__}.{value.__qualname__}".encode()
    elif depth < _DEPTH:
        for item in _inside(value):
            yield from _parts(item, depth + 1)


def _inside(value: Any) -> list[Any]:
    """What a value holds: items in their order, of sets and attributes in one that does not change."""
    if isinstance(value, Mapping):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if hasattr(value, "tobytes"):  # an image of PIL
        return [value.tobytes()]
    return [part for pair in sorted(getattr(value, "__dict__", {}).items()) for part in pair]
