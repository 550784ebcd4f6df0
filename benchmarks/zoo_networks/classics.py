"""Classifiers that tutorials and theses start from, with the shapes written into their code as people write them."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet(nn.Module):
    """LeNet-5 as in torch's own tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 16 * 5 * 5)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class CifarNet(nn.Module):
    """A plain network that flattens by the batch's size, and gives logarithms of probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 64, 3, 1)
        self.dropout1 = nn.Dropout2d(0.25)
        self.fc1 = nn.Linear(64 * 14 * 14, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = self.dropout1(x)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, p=0.0, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class LambdaLayer(nn.Module):
    """A function as a layer."""

    def __init__(self, lambd: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, x: Tensor) -> Tensor:
        return self.lambd(x)


class OptionABlock(nn.Module):
    """A residual block of CIFAR ResNets whose shortcut takes every second pixel and pads channels with zeros."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = LambdaLayer(
                lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, planes // 4, planes // 4), "constant", 0)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class OptionAResNet(nn.Module):
    """ResNet-20 for CIFAR, averaged over what is left of the image."""

    def __init__(self, num_blocks: int = 3) -> None:
        super().__init__()
        self.in_planes = 16
        self.conv1 = nn.Conv2d(3, 16, 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._make_layer(16, num_blocks, stride=1)
        self.layer2 = self._make_layer(32, num_blocks, stride=2)
        self.layer3 = self._make_layer(64, num_blocks, stride=2)
        self.linear = nn.Linear(64, 10)

    def _make_layer(self, planes: int, num_blocks: int, stride: int) -> nn.Sequential:
        layers = []
        for s in [stride] + [1] * (num_blocks - 1):
            layers.append(OptionABlock(self.in_planes, planes, s))
            self.in_planes = planes
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer1(out)
        out = self.layer2(out)
        out = self.layer3(out)
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        return self.linear(out)


class PreActBlock(nn.Module):
    """Normalised before it is convolved; the shortcut starts behind the first normalisation."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=1, padding=1, bias=False)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class PreActResNet(nn.Module):
    """Pre-activation ResNet for CIFAR."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.layers = nn.Sequential(
            PreActBlock(32, 32), PreActBlock(32, 64, 2), PreActBlock(64, 64), PreActBlock(64, 128, 2)
        )
        self.bn = nn.BatchNorm2d(128)
        self.linear = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(self.conv1(x))
        out = F.relu(self.bn(out))
        out = F.adaptive_avg_pool2d(out, 1)
        return self.linear(torch.flatten(out, 1))


class Bottleneck(nn.Module):
    """A DenseNet layer: what comes in stays, what is new is concatenated."""

    def __init__(self, in_planes: int, growth_rate: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, 4 * growth_rate, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth_rate)
        self.conv2 = nn.Conv2d(4 * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(F.relu(self.bn1(x)))
        out = self.conv2(F.relu(self.bn2(out)))
        return torch.cat([out, x], 1)


class DenseNet(nn.Module):
    """DenseNet-BC for CIFAR."""

    def __init__(self, growth_rate: int = 12, nblocks: tuple[int, ...] = (4, 4, 4), reduction: float = 0.5) -> None:
        super().__init__()
        num_planes = 2 * growth_rate
        layers: list[nn.Module] = [nn.Conv2d(3, num_planes, kernel_size=3, padding=1, bias=False)]
        for i, nblock in enumerate(nblocks):
            for _ in range(nblock):
                layers.append(Bottleneck(num_planes, growth_rate))
                num_planes += growth_rate
            if i < len(nblocks) - 1:
                out_planes = int(num_planes * reduction)
                layers += [nn.BatchNorm2d(num_planes), nn.ReLU(inplace=True)]
                layers += [nn.Conv2d(num_planes, out_planes, kernel_size=1, bias=False), nn.AvgPool2d(2)]
                num_planes = out_planes
        self.features = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(num_planes)
        self.linear = nn.Linear(num_planes, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn(self.features(x)))
        out = out.mean([-2, -1])
        return self.linear(out)


class InceptionBlock(nn.Module):
    """Four ways side by side."""

    def __init__(self, in_planes: int, n1x1: int, n3x3red: int, n3x3: int, n5x5red: int, n5x5: int, pool: int) -> None:
        super().__init__()
        self.b1 = self._unit(in_planes, n1x1, 1)
        self.b2 = nn.Sequential(self._unit(in_planes, n3x3red, 1), self._unit(n3x3red, n3x3, 3))
        self.b3 = nn.Sequential(
            self._unit(in_planes, n5x5red, 1), self._unit(n5x5red, n5x5, 3), self._unit(n5x5, n5x5, 3)
        )
        self.b4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), self._unit(in_planes, pool, 1))

    @staticmethod
    def _unit(in_planes: int, planes: int, kernel: int) -> nn.Sequential:
        conv = nn.Conv2d(in_planes, planes, kernel, padding=kernel // 2)
        return nn.Sequential(conv, nn.BatchNorm2d(planes), nn.ReLU(True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in (self.b1, self.b2, self.b3, self.b4)], 1)


class InceptionNet(nn.Module):
    """GoogLeNet for CIFAR, shortened, with a second head in training."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_layers = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(True))
        self.a3 = InceptionBlock(48, 16, 24, 32, 4, 8, 8)
        self.b3 = InceptionBlock(64, 32, 32, 48, 8, 24, 16)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.a4 = InceptionBlock(120, 48, 24, 52, 4, 12, 16)
        self.aux = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Conv2d(120, 16, 1), nn.Flatten(), nn.Linear(64, 10))
        self.linear = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        out = self.b3(self.a3(self.pre_layers(x)))
        out = self.maxpool(out)
        aux = self.aux(out) if self.training else None
        out = self.a4(out)
        out = F.adaptive_avg_pool2d(out, (1, 1))
        out = self.linear(out.view(out.size(0), -1))
        if self.training:
            assert aux is not None
            return out, aux
        return out


class ResNeXtBlock(nn.Module):
    """A bottleneck whose middle convolution is grouped."""

    def __init__(self, in_planes: int, cardinality: int, bottleneck_width: int, stride: int = 1) -> None:
        super().__init__()
        group_width = cardinality * bottleneck_width
        self.conv1 = nn.Conv2d(in_planes, group_width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(group_width)
        self.conv2 = nn.Conv2d(
            group_width, group_width, kernel_size=3, stride=stride, padding=1, groups=cardinality, bias=False
        )
        self.bn2 = nn.BatchNorm2d(group_width)
        self.conv3 = nn.Conv2d(group_width, 2 * group_width, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * group_width)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != 2 * group_width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, 2 * group_width, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(2 * group_width),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNeXt(nn.Module):
    """ResNeXt for CIFAR: 4 groups of 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.layer1 = nn.Sequential(ResNeXtBlock(32, 4, 8), ResNeXtBlock(64, 4, 8))
        self.layer2 = nn.Sequential(ResNeXtBlock(64, 4, 16, stride=2), ResNeXtBlock(128, 4, 16))
        self.linear = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer2(self.layer1(out))
        out = out.mean(dim=(2, 3))
        return self.linear(out)
