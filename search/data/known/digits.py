"""scikit-learn's 8×8 digits, which come with the installation."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..stratification import stratified_order
from .source import Source

# They have no published test part: these are taken, whatever a study's seed.
TEST_SHARE = 0.2
TEST_SEED = 0


class Digits(Source):
    """The 1,797 digits, a stratified fifth of them for testing."""

    def _read(self, root: Path, part: str) -> tuple[Tensor, Tensor]:
        images, labels = read_digits()
        order = stratified_order(labels, seed=TEST_SEED)
        held_out = round(len(order) * TEST_SHARE)
        chosen = order[held_out:] if part == "train" else order[:held_out]
        return images[chosen], labels[chosen]


def read_digits() -> tuple[Tensor, Tensor]:
    """All digits (N, 1, 8, 8) uint8, their range 0 … 16 spread over 0 … 255, and labels (N,) int64."""
    from sklearn.datasets import load_digits  # a second's import

    images, labels = load_digits(return_X_y=True)
    scaled = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))
