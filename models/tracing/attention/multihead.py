"""`nn.MultiheadAttention` recorded as what it computes: projections, heads, attention."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.kinds import behaves_as
from ...layers.narrowing import has_hooks
from ..recording.attributes import traced_value
from ..recording.numbers import Origin
from .steps import attention_weights

# Torch's modules that are made of layers: what they call is followed.
CONTAINERS = (
    nn.Transformer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
)


class Records(Protocol):
    """What attention asks of the recorder of the graph that it belongs to."""

    def whole(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Records a call of a function as a whole."""

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from."""


def is_multihead(module: nn.Module) -> bool:
    """Whether a module's calls are recorded here: attention with one projection for all three, no rows of its own."""
    known = isinstance(module, nn.MultiheadAttention) and behaves_as(module) is nn.MultiheadAttention
    if not known or has_hooks(module):
        return False
    return bool(module._qkv_same_embed_dim and module.bias_k is None and not module.add_zero_attn)


def multihead_attention(
    module: nn.MultiheadAttention,
    path: str,
    recorder: Records,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """What the module's forward yields; its numbers know that they are its own.

    Args:
        module: attention with one weight for the three projections, without `bias_k` and `add_zero_attn`.
        path: of the module in the network.
        recorder: of the call.
        query: (N, L, E), or (L, N, E) where the module says so.
        key: (N, S, E), likewise.
        value: like `key`.
        key_padding_mask: (N, S), truths of keys that nobody sees, or what is added to them.
        need_weights: whether to yield the weights.
        attn_mask: (L, S) or (N · heads, L, S): truths of what is not seen, or what is added.
        average_attn_weights: whether over the heads.
        is_causal: a hint that `attn_mask` is causal.
    """
    width = traced_value(path, "embed_dim", module.embed_dim)
    each = traced_value(path, "head_dim", module.head_dim)
    heads: int = module.num_heads
    same, alike = query is key, key is value
    streams = [x if module.batch_first else x.transpose(0, 1) for x in (query, key, value)]
    streams = [x.reshape(x.shape[0], x.shape[1], width) for x in streams]  # torch demands this width
    if same and alike:
        projected = F.linear(streams[0], module.in_proj_weight, module.in_proj_bias)
        q, k, v = projected.chunk(3, -1)
    else:
        projections = [F.linear(x, module.in_proj_weight, module.in_proj_bias) for x in streams[: 2 if alike else 3]]
        for i, x in enumerate(projections):  # of each, torch computes what is used
            if (made := recorder.origin(x)) is not None:
                made.node.meta["share"] = 2 / 3 if i and alike else 1 / 3
        q, k, v = (projections[min(i, len(projections) - 1)].chunk(3, -1)[i] for i in range(3))
    q, k, v = (x.reshape(x.shape[0], x.shape[1], heads, each).transpose(1, 2) for x in (q, k, v))
    mask = _mask(attn_mask, key_padding_mask, heads, query)
    dropout = module.dropout if module.dropout and module.training else 0.0
    weights = None
    if need_weights:
        weights = recorder.whole(attention_weights, (q, k), {"attn_mask": mask, "dropout_p": dropout})
        y = weights @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout)
    y = module.out_proj(y.transpose(1, 2).reshape(y.shape[0], y.shape[2], width))
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    return y if module.batch_first else y.transpose(0, 1), weights


def _mask(attn_mask: Tensor | None, padding: Tensor | None, heads: int, like: Tensor) -> Tensor | None:
    """Both masks as what is added to the scores, (N or 1, heads or 1, L or 1, S)."""
    masks = []
    if attn_mask is not None:
        attn_mask = _added(attn_mask, like)
        masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, (-1, heads)))
    if padding is not None:
        masks.append(_added(padding, like)[:, None, None])
    return masks[0] + masks[1] if len(masks) == 2 else next(iter(masks), None)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
