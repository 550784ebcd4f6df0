"""Networks that take more than one image: pairs, tables beside images, dicts and keywords."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def encoder(in_channels: int, width: int) -> nn.Sequential:
    """Two convolutions and a mean."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class ImageAndTable(nn.Module):
    """An image and a row of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.image = encoder(3, 16)
        self.table = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(32 + 24, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat((self.image(image), self.table(table)), dim=1))


class Siamese(nn.Module):
    """Two images through one network; how far apart they are."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = encoder(1, 24)
        self.fc = nn.Linear(48, 1)

    def forward_once(self, x: Tensor) -> Tensor:
        """One of the two."""
        return self.cnn(x)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        distance = torch.abs(self.forward_once(x1) - self.forward_once(x2))
        return torch.sigmoid(self.fc(distance))


class DictNet(nn.Module):
    """A batch comes as a dict, and a dict goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb = encoder(3, 16)
        self.depth = encoder(1, 16)
        self.classifier = nn.Linear(64, 8)
        self.regressor = nn.Linear(64, 2)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        features = torch.cat([self.rgb(batch["rgb"]), self.depth(batch["depth"])], dim=1)
        return {"logits": self.classifier(features), "offset": self.regressor(features)}


class KeywordNet(nn.Module):
    """Called by keywords, one of which may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU())
        self.mask_conv = nn.Conv2d(1, 32, 3, stride=2, padding=1)
        self.block = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU())
        self.fc = nn.Linear(64, 10)

    def forward(
        self, pixel_values: Tensor, mask: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        x = self.stem(pixel_values)
        if mask is not None:
            x = x * torch.sigmoid(self.mask_conv(mask))
        logits = self.fc(self.block(x).mean(dim=[2, 3]))
        out = {"logits": logits}
        if labels is not None:
            out["loss"] = F.cross_entropy(logits, labels)
        return out
