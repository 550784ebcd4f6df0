"""P and E beside layers in groups: one small matrix for each block of channels, (G, out / G, in / G)."""

import torch
from torch import Tensor


def dense(weight: Tensor) -> Tensor:
    """The matrix (out, in) that a P or E stands for, given as it is or in G blocks (G, out / G, in / G)."""
    return torch.block_diag(*weight) if weight.dim() == 3 else weight


def like_blocks(matrix: Tensor, weight: Tensor) -> Tensor:
    """A matrix (out, in) in the form of a P or E of its size; what lies outside of the blocks is left out."""
    return diagonal(matrix, len(weight)) if weight.dim() == 3 else matrix


def diagonal(matrix: Tensor, blocks: int) -> Tensor:
    """The blocks (G, out / G, in / G) on the diagonal of a matrix (out, in)."""
    out, size = matrix.shape
    return matrix.view(blocks, out // blocks, blocks, size // blocks).diagonal(dim1=0, dim2=2).movedim(-1, 0)


def outputs(weight: Tensor) -> int:
    """Rows of the matrix that a P or E stands for."""
    return weight.shape[0] * weight.shape[1] if weight.dim() == 3 else weight.shape[0]


def inputs(weight: Tensor) -> int:
    """Columns of the matrix that a P or E stands for."""
    return weight.shape[0] * weight.shape[2] if weight.dim() == 3 else weight.shape[1]


def new_matrix(like: Tensor, out: int, size: int, blocks: int) -> Tensor:
    """A P or E of zeros for a matrix (out, size), in the form that so many blocks have; dtype and device of `like`."""
    return like.new_zeros(out, size) if blocks == 1 else like.new_zeros(blocks, out // blocks, size // blocks)


def fold_expand_in_groups(weight: Tensor, bias: Tensor | None, E: Tensor, e: Tensor) -> tuple[Tensor, Tensor | None]:
    """E z + e before a reader in G groups: in each, W'[:, f] = Σ_i W[:, i] E[i, f], and b' = b + Σ W e.

    Args:
        weight: (out, C / G, *kernel) of the reader.
        bias: (out,), or None for a reader without one, before which there is no e.
        E: (G, C / G, k / G).
        e: (C,).

    Returns:
        The weight (out, k / G, *kernel) and the bias.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    in_groups = weight.to(dtype).flatten(2).unflatten(0, (len(E), -1)).transpose(1, 2)  # (G, C / G, out / G, kernel)
    folded = E.to(dtype).mT @ in_groups.flatten(2)
    by_group = folded.unflatten(2, in_groups.shape[2:]).transpose(1, 2)
    whole = by_group.flatten(0, 1).unflatten(2, weight.shape[2:]).to(weight.dtype)
    if bias is None:
        return whole, None
    shift = torch.einsum("gio,gi->go", in_groups.sum(3), e.to(dtype).view(len(E), -1))
    return whole, (bias.to(dtype) + shift.flatten()).to(bias.dtype)


def block_count(weight: Tensor) -> int:
    """In how many blocks a P or E is given."""
    return len(weight) if weight.dim() == 3 else 1
