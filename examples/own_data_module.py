"""A network and a LightningDataModule of one's own, trained, pruned, and exported: all in one program.

Run it with `python examples/own_data_module.py`; it writes into the working directory.
"""

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from branchfold.search import run_study


class Stripes(pl.LightningDataModule):
    """Noisy images with stripes across (class 0) or down (class 1)."""

    def setup(self, stage: str) -> None:
        """Draws the images and splits them."""
        labels, generator = torch.arange(800) % 2, torch.Generator().manual_seed(0)
        across = torch.sin(torch.arange(16) * 1.5 + 6 * torch.rand(800, 1, generator=generator)).view(800, 1, 16, 1)
        stripes = torch.where(labels.view(-1, 1, 1, 1) == 0, across, across.transpose(2, 3)).expand(-1, 1, 16, 16)
        images = stripes + torch.randn(800, 1, 16, 16, generator=generator)
        self.parts = random_split(TensorDataset(images, labels), [500, 150, 150], generator)

    def train_dataloader(self) -> DataLoader:
        """What is trained on."""
        return DataLoader(self.parts[0], batch_size=50, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        """What trials are compared on."""
        return DataLoader(self.parts[1], batch_size=50)

    def test_dataloader(self) -> DataLoader:
        """What the exported network alone is judged on."""
        return DataLoader(self.parts[2], batch_size=50)


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution with its BatchNorm and ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


if __name__ == "__main__":
    torch.manual_seed(0)
    network = nn.Sequential(*block(1, 16), *block(16, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    study = {
        "study": {"name": "stripes", "budget": {"macs": 0.4}, "trials": 4},
        "baseline": {"epochs": 4, "lr": 0.05},  # trains the network further; without it, it is pruned as it is
        "trial": {"epochs": 2},
        "search": {"finalists": 1},
    }
    result = run_study(study, network=network, data=Stripes(), callbacks=[print])
    print(result.best.network)
    print(result.export("stripes.safetensors").evaluation.value)
