"""Building blocks that people copy from repository to repository: attention over channels, cheap convolutions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(in_planes: int, planes: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution, BatchNorm and ReLU."""
    conv = nn.Conv2d(in_planes, planes, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(planes), nn.ReLU(inplace=True))


class SELayer(nn.Module):
    """Squeeze-and-excitation, by `view(b, c)`."""

    def __init__(self, channel: int, reduction: int = 4) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class ECALayer(nn.Module):
    """Efficient channel attention: a Conv1d along the channels."""

    def __init__(self, channel: int, gamma: int = 2, b: int = 1) -> None:
        super().__init__()
        t = int(abs((math.log(channel, 2) + b) / gamma))
        k_size = t if t % 2 else t + 1
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel_size=k_size, padding=(k_size - 1) // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        y = self.sigmoid(y)
        return x * y.expand_as(x)


class ChannelAttention(nn.Module):
    """CBAM's first half."""

    def __init__(self, in_planes: int, ratio: int = 8) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc1 = nn.Conv2d(in_planes, in_planes // ratio, 1, bias=False)
        self.relu1 = nn.ReLU()
        self.fc2 = nn.Conv2d(in_planes // ratio, in_planes, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        avg_out = self.fc2(self.relu1(self.fc1(self.avg_pool(x))))
        max_out = self.fc2(self.relu1(self.fc1(self.max_pool(x))))
        return self.sigmoid(avg_out + max_out)


class SpatialAttention(nn.Module):
    """CBAM's second half: mean and maximum over the channels."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        avg_out = torch.mean(x, dim=1, keepdim=True)
        max_out, _ = torch.max(x, dim=1, keepdim=True)
        x = torch.cat([avg_out, max_out], dim=1)
        return self.sigmoid(self.conv1(x))


class CBAM(nn.Module):
    """Channel attention, then spatial attention."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.ca = ChannelAttention(planes)
        self.sa = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        out = self.ca(x) * x
        return self.sa(out) * out


class AttentiveBlock(nn.Module):
    """A residual block with an attention layer before its sum."""

    def __init__(self, in_planes: int, planes: int, stride: int, attention: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.attention = attention(planes)
        self.downsample = None
        if stride != 1 or in_planes != planes:
            conv = nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.attention(self.bn2(self.conv2(out)))
        if self.downsample is not None:
            residual = self.downsample(x)
        out += residual
        return self.relu(out)


class AttentiveResNet(nn.Module):
    """A small ResNet with an attention layer in every block."""

    def __init__(self, attention: type[nn.Module]) -> None:
        super().__init__()
        self.stem = conv_bn(3, 32)
        self.layer1 = AttentiveBlock(32, 32, 1, attention)
        self.layer2 = AttentiveBlock(32, 64, 2, attention)
        self.layer3 = AttentiveBlock(64, 128, 2, attention)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        x = self.avgpool(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)


class Bottle2neck(nn.Module):
    """Res2Net's block: parts of the channels, each convolved with the sum of itself and the part before."""

    def __init__(self, inplanes: int, planes: int, scale: int = 4) -> None:
        super().__init__()
        width = planes // 2
        self.conv1 = nn.Conv2d(inplanes, width * scale, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.nums = scale - 1
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(self.nums)])
        self.bns = nn.ModuleList([nn.BatchNorm2d(width) for _ in range(self.nums)])
        self.conv3 = nn.Conv2d(width * scale, inplanes, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.width = width
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        spx = torch.split(out, self.width, 1)
        sp = spx[0]
        for i in range(self.nums):
            sp = spx[i] if i == 0 else sp + spx[i]
            sp = self.convs[i](sp)
            sp = self.relu(self.bns[i](sp))
            out = sp if i == 0 else torch.cat((out, sp), 1)
        out = torch.cat((out, spx[self.nums]), 1)
        out = self.bn3(self.conv3(out))
        out += x
        return self.relu(out)


class GhostModule(nn.Module):
    """Half of the channels by a convolution, the others by a cheap one from those."""

    def __init__(self, inp: int, oup: int, kernel_size: int = 1, ratio: int = 2, dw_size: int = 3) -> None:
        super().__init__()
        self.oup = oup
        init_channels = math.ceil(oup / ratio)
        new_channels = init_channels * (ratio - 1)
        self.primary_conv = conv_bn(inp, init_channels, kernel_size)
        self.cheap_operation = conv_bn(init_channels, new_channels, dw_size, groups=init_channels)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        x2 = self.cheap_operation(x1)
        out = torch.cat([x1, x2], dim=1)
        return out[:, : self.oup, :, :]


class GhostBottleneck(nn.Module):
    """Two ghost modules and a shortcut."""

    def __init__(self, inp: int, hidden: int) -> None:
        super().__init__()
        self.ghost1 = GhostModule(inp, hidden)
        self.ghost2 = GhostModule(hidden, inp)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.ghost2(self.ghost1(x))


class C2f(nn.Module):
    """A YOLO block: two halves, and everything that comes of the second, concatenated."""

    def __init__(self, c1: int, c2: int, n: int = 2) -> None:
        super().__init__()
        self.c = c2 // 2
        self.cv1 = conv_bn(c1, 2 * self.c, 1)
        self.cv2 = conv_bn((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(nn.Sequential(conv_bn(self.c, self.c), conv_bn(self.c, self.c)) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class CSPBlock(nn.Module):
    """Cross stage partial: half of the channels by slices go around the blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.part = channels // 2
        self.blocks = nn.Sequential(conv_bn(self.part, self.part, 1), conv_bn(self.part, self.part))
        self.transition = conv_bn(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        around, through = x[:, : self.part], x[:, self.part :]
        return self.transition(torch.cat([self.blocks(through), around], dim=1))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of all groups taken in turn."""
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, -1, height, width)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit: one half passes, the other is convolved, then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch2 = nn.Sequential(
            conv_bn(half, half, 1),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            conv_bn(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = x.chunk(2, dim=1)
        out = torch.cat((x1, self.branch2(x2)), dim=1)
        return channel_shuffle(out, 2)


class SKUnit(nn.Module):
    """Selective kernels: a softmax over two branches weighs them for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([conv_bn(channels, channels, 3), conv_bn(channels, channels, 5)])
        self.fc = nn.Linear(channels, channels // 2)
        self.fcs = nn.ModuleList([nn.Linear(channels // 2, channels) for _ in range(2)])
        self.softmax = nn.Softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        feas = torch.cat([conv(x).unsqueeze(dim=1) for conv in self.convs], dim=1)
        fea_s = torch.sum(feas, dim=1).mean(-1).mean(-1)
        fea_z = self.fc(fea_s)
        vectors = torch.stack([fc(fea_z) for fc in self.fcs], dim=1)
        attention = self.softmax(vectors).unsqueeze(-1).unsqueeze(-1)
        return (feas * attention).sum(dim=1)


class Staged(nn.Module):
    """A classifier of two stages of blocks, in the middle of which channels and pixels change."""

    def __init__(self, block: type[nn.Module], *arguments: int) -> None:
        super().__init__()
        self.stem = conv_bn(3, 32)
        self.stage1 = nn.Sequential(block(32, *arguments), block(32, *arguments))
        self.down = conv_bn(32, 64, 3, stride=2)
        self.stage2 = nn.Sequential(block(64, *arguments), block(64, *arguments))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class C2fNet(nn.Module):
    """A backbone of YOLO blocks that gives its three scales."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleList(
            [conv_bn(3, 16, 3, 2), conv_bn(16, 32, 3, 2), C2f(32, 32), conv_bn(32, 64, 3, 2), C2f(64, 64, 1)]
        )
        self.detect = nn.ModuleList([nn.Conv2d(32, 7, 1), nn.Conv2d(64, 7, 1)])

    def forward(self, x: Tensor) -> list[Tensor]:
        scales = []
        for i, m in enumerate(self.model):
            x = m(x)
            if i in (2, 4):
                scales.append(x)
        return [head(scale) for head, scale in zip(self.detect, scales, strict=True)]
