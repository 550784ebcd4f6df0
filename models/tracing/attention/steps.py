"""Attention in two steps, as it is recorded: the weights, and their product with the values."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """What `torch.nn.functional.scaled_dot_product_attention` multiplies the values with: softmax(q kᵀ scale + mask).

    Args:
        query: (N, …, heads, L, E).
        key: (N, …, heads, S, E).
        attn_mask: what is added, (…, L, S), or truths of what takes part.
        dropout_p: share of the weights that are dropped.
        is_causal: whether each query sees the keys up to its own place only.
        scale: of the products, 1 / √E by default.

    Returns:
        (N, …, heads, L, S); zeros where a query sees nothing.
    """
    root = math.sqrt(1 / math.sqrt(query.size(-1)) if scale is None else scale)
    scores = (query * root) @ (key * root).transpose(-2, -1)  # torch takes the root of both as well
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is None:
        return F.dropout(scores.softmax(-1), dropout_p)
    hidden = attn_mask.dtype is torch.bool
    scores = scores.masked_fill(~attn_mask, float("-inf")) if hidden else scores + attn_mask
    blind = scores.amax(-1, keepdim=True) == float("-inf")
    return F.dropout(scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0), dropout_p)
