"""Layers of the users' own making: subclasses, functions on parameters, reparametrised weights, one layer twice."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Conv(nn.Conv2d):
    """A convolution that pads itself."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm with other defaults."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, eps=1e-3, momentum=0.03)


class BatchNormAct(nn.BatchNorm2d):
    """BatchNorm with its activation, forwarded by hand."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        assert x.ndim == 4, f"expected 4D input (got {x.ndim}D input)"
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )
        return self.act(x)


class SubclassNet(nn.Module):
    """Every layer is of a class of its own that keeps torch's forward."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Conv(3, 32, 3),
            BatchNorm(32),
            nn.SiLU(),
            Conv(32, 64, 3, 2),
            BatchNorm(64),
            nn.SiLU(),
            Conv(64, 64, 1),
            BatchNorm(64),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(x)).flatten(1))


class BatchNormActNet(nn.Module):
    """Residual blocks with BatchNorm and activation in one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1, bias=False)
        self.bn0 = BatchNormAct(32)
        self.conv1 = nn.Conv2d(32, 48, 3, padding=1, bias=False)
        self.bn1 = BatchNormAct(48)
        self.conv2 = nn.Conv2d(48, 32, 3, padding=1, bias=False)
        self.bn2 = BatchNormAct(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(self.stem(x))
        x = x + self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return self.head(x.mean((2, 3)))


class FunctionalNet(nn.Module):
    """No layers, only parameters and functions, as in meta-learning code."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv1_weight = nn.Parameter(torch.randn(24, 3, 3, 3) * 0.1)
        self.conv1_bias = nn.Parameter(torch.zeros(24))
        self.bn1_weight = nn.Parameter(torch.ones(24))
        self.bn1_bias = nn.Parameter(torch.zeros(24))
        self.register_buffer("running_mean", torch.zeros(24))
        self.register_buffer("running_var", torch.ones(24))
        self.conv2_weight = nn.Parameter(torch.randn(48, 24, 3, 3) * 0.1)
        self.conv2_bias = nn.Parameter(torch.zeros(48))
        self.fc_weight = nn.Parameter(torch.randn(10, 48) * 0.1)
        self.fc_bias = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.conv1_weight, self.conv1_bias, padding=1)
        x = F.batch_norm(x, self.running_mean, self.running_var, self.bn1_weight, self.bn1_bias, training=self.training)
        x = F.relu(x)
        x = F.conv2d(x, self.conv2_weight, self.conv2_bias, stride=2, padding=1)
        x = F.relu(x).mean(dim=(2, 3))
        return F.linear(x, self.fc_weight, self.fc_bias)


class WSConv2d(nn.Conv2d):
    """A convolution that standardises its weight in its own forward."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        std = weight.view(weight.size(0), -1).std(dim=1).view(-1, 1, 1, 1) + 1e-5
        return F.conv2d(
            x, weight / std.expand_as(weight), self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class WSNet(nn.Module):
    """Weight standardisation and GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            WSConv2d(3, 32, 3, padding=1),
            nn.GroupNorm(4, 32),
            nn.ReLU(inplace=True),
            WSConv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(4, 64),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 1),
        )
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).amax(dim=(2, 3)))


class SNDiscriminator(nn.Module):
    """A discriminator under spectral_norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, 32, 3, stride=1, padding=1))
        self.conv2 = spectral_norm(nn.Conv2d(32, 64, 4, stride=2, padding=1))
        self.conv3 = spectral_norm(nn.Conv2d(64, 64, 4, stride=2, padding=1))
        self.fc = spectral_norm(nn.Linear(64 * 8 * 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        m = nn.LeakyReLU(0.1)(self.conv1(x))
        m = nn.LeakyReLU(0.1)(self.conv2(m))
        m = nn.LeakyReLU(0.1)(self.conv3(m))
        return self.fc(m.view(-1, 64 * 8 * 8))


class TwoNamesNet(nn.Module):
    """Layers that are attributes and stand in a Sequential as well, which runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.net = nn.Sequential(self.conv1, self.bn1, self.relu, self.conv2, self.relu)
        self.fc = nn.Linear(64, 10)
        self.init_weights()

    def init_weights(self) -> None:
        """Small weights to begin with."""
        self.conv1.weight.data.normal_(0, 0.01)
        self.conv2.weight.data.normal_(0, 0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = self.net(x)
        return self.fc(x.mean(3).mean(2))


class SharedHeadNet(nn.Module):
    """A detector's head that is called at two scales, with a scale for each."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.c2 = nn.Sequential(nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU())
        self.lateral1 = nn.Conv2d(32, 48, 1)
        self.lateral2 = nn.Conv2d(64, 48, 1)
        self.tower = nn.Sequential(nn.Conv2d(48, 48, 3, padding=1), nn.GroupNorm(6, 48), nn.ReLU())
        self.cls = nn.Conv2d(48, 5, 3, padding=1)
        self.scales = nn.ParameterList([nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))])

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        c1 = self.c1(x)
        c2 = self.c2(c1)
        p2 = self.lateral2(c2)
        p1 = self.lateral1(c1) + F.interpolate(p2, size=c1.shape[-2:], mode="nearest")
        return {"logits": [self.cls(self.tower(p)) * s for p, s in zip((p1, p2), self.scales, strict=True)]}
