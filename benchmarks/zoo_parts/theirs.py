"""Torch-Pruning on one network: what it takes and what it removes."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning
from torch import nn

from branchfold.benchmarks.zoo_parts.building import BATCH, CLASSES, KEEP, Subject, Tell, run, tensors
from branchfold.benchmarks.zoo_parts.counting import OutOfTimeError, count_macs, measured

# What attention modules call their layers for queries, keys and values, together or apart.
PROJECTIONS = ("qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj", "query", "key", "value", "to_qkv", "in_proj", "kv")

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def measure(subject: Subject, tell: Tell, limit: float) -> None:
    """Tells, as soon as it is known, everything about one network.

    Where the library fails with its options for transformers, it is tried without.
    """
    network, inputs = subject.network, subject.inputs(BATCH, 0)
    whole, _ = count_macs(network, inputs)
    tell(macs=whole / BATCH, stage="pruning")
    if any(_heads(network)):
        spare = copy.deepcopy(network)
        try:
            return _measure(network, inputs, whole, tell, limit, with_heads=True)
        except (Exception, OutOfTimeError) as error:
            tell(with_options=f"{type(error).__name__}: {error}"[:300])
            del network
        return _measure(spare, inputs, whole, tell, limit, with_heads=False)
    return _measure(network, inputs, whole, tell, limit, with_heads=False)


def _measure(network: nn.Module, inputs: Any, whole: int, tell: Tell, limit: float, *, with_heads: bool) -> None:
    with torch.no_grad():
        shapes = [x.shape for x in tensors(run(network, inputs))]
    tell(stage="pruning")
    with measured(limit) as work:
        prune(network, inputs, with_heads=with_heads)
    tell(seconds=work.seconds, elapsed=work.elapsed, megabytes=work.megabytes, stage="forward of the pruned network")
    with torch.no_grad():
        if [x.shape for x in tensors(run(network, inputs))] != shapes:
            raise RuntimeError("the pruned network's outputs have other shapes")
    tell(removed=1 - count_macs(network, inputs)[0] / whole, stage="training of the pruned network")
    try:
        outputs = [y for y in tensors(run(network.train(), inputs)) if y.requires_grad]
        torch.stack([y.square().mean() for y in outputs]).sum().backward()
    except Exception as error:  # counted as accepted, since evaluation works
        tell(fails_in_training=f"{type(error).__name__}: {error}"[:300])
    tell(stage="")


def prune(network: nn.Module, inputs: Any, *, with_heads: bool) -> None:
    """Half of the channels by the magnitude of their weights, in place.

    What a user of the library states is stated: the layers that give the outputs stay and, `with_heads`, the numbers of
    heads are told of attention whose layers have usual names, whose heads get half of their width.
    """
    heads = dict(_heads(network)) if with_heads else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.MagnitudePruner(
            network,
            inputs,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=1 - KEEP,
            ignored_layers=_outputs(network, inputs),
            num_heads=heads,
            prune_num_heads=False,
            prune_head_dims=True,
        )
        pruner.step()
    if with_heads:
        for module in network.modules():
            _tell_width_of_heads(module, pruner.num_heads)


def _outputs(network: nn.Module, inputs: Any) -> list[nn.Module]:
    """Layers with as many outputs as the network: they are pruned unless told not to."""
    with torch.no_grad():
        answers = tensors(run(network, inputs))
    sizes = {CLASSES, *(y.shape[1] for y in answers if y.dim() > 1), *(y.shape[-1] for y in answers if y.dim() == 3)}
    return [layer for layer in network.modules() if _size(layer) in sizes]


def _size(layer: nn.Module) -> int | None:
    return getattr(layer, "out_features", getattr(layer, "out_channels", None)) if isinstance(layer, LAYERS) else None


def _heads(network: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    for module in network.modules():
        if isinstance(count := getattr(module, "num_heads", getattr(module, "heads", None)), int):
            for name in PROJECTIONS:
                if isinstance(layer := getattr(module, name, None), nn.Linear):
                    yield layer, count


def _tell_width_of_heads(module: nn.Module, heads: dict[nn.Module, int]) -> None:
    """The numbers that timm's attention keeps, after its example for the library."""
    layer = getattr(module, "qkv", None)
    if isinstance(layer, nn.Linear) and layer in heads:
        module.num_heads = heads[layer]  # type: ignore[assignment]
        width = layer.out_features // 3
        for name, value in {"head_dim": width // heads[layer], "attn_dim": width, "attention_dim": width}.items():
            if hasattr(module, name):
                setattr(module, name, value)
