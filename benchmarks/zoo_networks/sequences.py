"""Networks for sound, text in images and volumes: Conv1d, Conv3d, recurrent layers."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WaveNetBlock(nn.Module):
    """A dilated convolution with a gate; one way on and one to the skips."""

    def __init__(self, channels: int, skip: int, dilation: int) -> None:
        super().__init__()
        self.conv_filter = nn.Conv1d(channels, channels, 2, dilation=dilation)
        self.conv_gate = nn.Conv1d(channels, channels, 2, dilation=dilation)
        self.residual_conv = nn.Conv1d(channels, channels, 1)
        self.skip_conv = nn.Conv1d(channels, skip, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.tanh(self.conv_filter(x)) * torch.sigmoid(self.conv_gate(x))
        s = self.skip_conv(z)
        return self.residual_conv(z) + x[:, :, -z.size(2) :], s


class WaveNet(nn.Module):
    """A small WaveNet: the skips are cut to the last one's length and added."""

    def __init__(self, channels: int = 32, skip: int = 64) -> None:
        super().__init__()
        self.start_conv = nn.Conv1d(16, channels, 1)
        self.blocks = nn.ModuleList([WaveNetBlock(channels, skip, 2**i) for i in range(4)])
        self.end_conv_1 = nn.Conv1d(skip, 32, 1)
        self.end_conv_2 = nn.Conv1d(32, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start_conv(x)
        skips = []
        for block in self.blocks:
            x, s = block(x)
            skips.append(s)
        skip = sum(s[:, :, -skips[-1].size(2) :] for s in skips)
        x = F.relu(skip)
        return self.end_conv_2(F.relu(self.end_conv_1(x)))


class Chomp1d(nn.Module):
    """Cuts off what padding has added at the end."""

    def __init__(self, chomp_size: int) -> None:
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    """A block of a temporal convolutional network, its convolutions under weight_norm."""

    def __init__(
        self, n_inputs: int, n_outputs: int, kernel_size: int, dilation: int, norm: Callable[[nn.Module], nn.Module]
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) * dilation
        self.conv1 = norm(nn.Conv1d(n_inputs, n_outputs, kernel_size, padding=padding, dilation=dilation))
        self.chomp1 = Chomp1d(padding)
        self.conv2 = norm(nn.Conv1d(n_outputs, n_outputs, kernel_size, padding=padding, dilation=dilation))
        self.chomp2 = Chomp1d(padding)
        self.net = nn.Sequential(self.conv1, self.chomp1, nn.ReLU(), self.conv2, self.chomp2, nn.ReLU())
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return F.relu(out + res)


class TCN(nn.Module):
    """A temporal convolutional network that classifies by its last step."""

    def __init__(self, norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        sizes = ((8, 32, 3, 1), (32, 32, 3, 2), (32, 48, 3, 4))
        self.tcn = nn.Sequential(*(TemporalBlock(*size, norm) for size in sizes))
        self.linear = nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn(x)
        return self.linear(y[:, :, -1])


class M5(nn.Module):
    """Keywords from raw sound: convolutions, then the mean over time."""

    def __init__(self, n_channel: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, n_channel, kernel_size=40, stride=8)
        self.bn1 = nn.BatchNorm1d(n_channel)
        self.pool1 = nn.MaxPool1d(4)
        self.conv2 = nn.Conv1d(n_channel, 2 * n_channel, kernel_size=3)
        self.bn2 = nn.BatchNorm1d(2 * n_channel)
        self.pool2 = nn.MaxPool1d(4)
        self.fc1 = nn.Linear(2 * n_channel, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = self.pool2(F.relu(self.bn2(self.conv2(x))))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        x = self.fc1(x)
        return F.log_softmax(x, dim=2).squeeze(1)


class CRNN(nn.Module):
    """Text in an image: columns of a convolutional network, read by an LSTM."""

    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(True),
            nn.MaxPool2d((2, 1)),
            nn.Conv2d(64, 64, (8, 1)),
            nn.ReLU(True),
        )
        self.rnn = nn.LSTM(64, hidden, bidirectional=True, batch_first=True)
        self.embedding = nn.Linear(hidden * 2, 26)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.cnn(x)
        conv = conv.squeeze(2).permute(0, 2, 1)
        recurrent, _ = self.rnn(conv)
        return self.embedding(recurrent)


class FrameGRU(nn.Module):
    """A video: each frame through a convolutional network, then a GRU over time."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.gru = nn.GRU(32, 24, batch_first=True)
        self.fc = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c, h, w = x.shape
        features = self.cnn(x.reshape(b * t, c, h, w)).view(b, t, -1)
        out, _ = self.gru(features)
        return self.fc(out[:, -1, :])


class C3D(nn.Module):
    """A small network for clips, by Conv3d, with residual blocks in (2+1) dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 16, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm3d(16)
        self.pool1 = nn.MaxPool3d(kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.spatial = nn.Conv3d(16, 24, kernel_size=(1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(24)
        self.temporal = nn.Conv3d(24, 16, kernel_size=(3, 1, 1), padding=(1, 0, 0), bias=False)
        self.pool2 = nn.AdaptiveAvgPool3d((1, 2, 2))
        self.fc = nn.Linear(16 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.bn1(self.conv1(x))))
        x = x + self.temporal(F.relu(self.bn2(self.spatial(x))))
        x = self.pool2(F.relu(x))
        x = x.view(x.shape[0], -1)
        return self.fc(x)


class UNet3D(nn.Module):
    """A small 3D U-Net with InstanceNorm and leaky activations."""

    def __init__(self, base: int = 8) -> None:
        super().__init__()
        self.enc1 = self._conv(1, base)
        self.down = nn.Conv3d(base, base * 2, 2, stride=2)
        self.enc2 = self._conv(base * 2, base * 2)
        self.up = nn.ConvTranspose3d(base * 2, base, 2, stride=2)
        self.dec1 = self._conv(base * 2, base)
        self.out = nn.Conv3d(base, 2, 1)

    @staticmethod
    def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.InstanceNorm3d(out_channels, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        skip = self.enc1(x)
        x = self.up(self.enc2(self.down(skip)))
        x = torch.cat((skip, x), dim=1)
        return self.out(self.dec1(x))
