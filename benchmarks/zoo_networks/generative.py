"""Networks whose output is an image: U-Nets, pix2pix, autoencoders, super-resolution, diffusion."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DoubleConv(nn.Module):
    """(convolution => BatchNorm => ReLU) * 2."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int | None = None) -> None:
        super().__init__()
        if not mid_channels:
            mid_channels = out_channels
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class Up(nn.Module):
    """Upscaling, padded to what came down, then a double convolution."""

    def __init__(self, in_channels: int, out_channels: int, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Module
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(in_channels, out_channels, in_channels // 2)
        else:
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
            self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        x1 = self.up(x1)
        diff_y = x2.size()[2] - x1.size()[2]
        diff_x = x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        x = torch.cat([x2, x1], dim=1)
        return self.conv(x)


class UNet(nn.Module):
    """The U-Net of a thousand repositories."""

    def __init__(self, bilinear: bool = False, width: int = 16) -> None:
        super().__init__()
        factor = 2 if bilinear else 1
        self.inc = DoubleConv(3, width)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(width, 2 * width))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(2 * width, 4 * width))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4 * width, 8 * width // factor))
        self.up1 = Up(8 * width, 4 * width // factor, bilinear)
        self.up2 = Up(4 * width, 2 * width // factor, bilinear)
        self.up3 = Up(2 * width, width, bilinear)
        self.outc = nn.Conv2d(width, 2, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(x4, x3)
        x = self.up2(x, x2)
        x = self.up3(x, x1)
        return self.outc(x)


class UnetSkipConnectionBlock(nn.Module):
    """pix2pix's block with the next one inside; its activations work in place on what the skip has read."""

    def __init__(
        self,
        outer_nc: int,
        inner_nc: int,
        submodule: nn.Module | None = None,
        input_nc: int | None = None,
        outermost: bool = False,
    ) -> None:
        super().__init__()
        self.outermost = outermost
        input_nc = outer_nc if input_nc is None else input_nc
        downconv = nn.Conv2d(input_nc, inner_nc, kernel_size=4, stride=2, padding=1, bias=False)
        downrelu = nn.LeakyReLU(0.2, True)
        downnorm = nn.BatchNorm2d(inner_nc)
        uprelu = nn.ReLU(True)
        upnorm = nn.BatchNorm2d(outer_nc)
        if outermost:
            upconv = nn.ConvTranspose2d(inner_nc * 2, outer_nc, kernel_size=4, stride=2, padding=1)
            assert submodule is not None
            model = [downconv, submodule, uprelu, upconv, nn.Tanh()]
        elif submodule is None:
            upconv = nn.ConvTranspose2d(inner_nc, outer_nc, kernel_size=4, stride=2, padding=1, bias=False)
            model = [downrelu, downconv, uprelu, upconv, upnorm]
        else:
            upconv = nn.ConvTranspose2d(inner_nc * 2, outer_nc, kernel_size=4, stride=2, padding=1, bias=False)
            model = [downrelu, downconv, downnorm, submodule, uprelu, upconv, upnorm, nn.Dropout(0.5)]
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        if self.outermost:
            return self.model(x)
        return torch.cat([x, self.model(x)], 1)


class Pix2Pix(nn.Module):
    """pix2pix's generator for small images."""

    def __init__(self, ngf: int = 16) -> None:
        super().__init__()
        block: nn.Module = UnetSkipConnectionBlock(ngf * 4, ngf * 8)
        block = UnetSkipConnectionBlock(ngf * 2, ngf * 4, block)
        block = UnetSkipConnectionBlock(ngf, ngf * 2, block)
        self.model = UnetSkipConnectionBlock(3, ngf, block, input_nc=1, outermost=True)

    def forward(self, input: Tensor) -> Tensor:
        return self.model(input)


class CycleResnetBlock(nn.Module):
    """CycleGAN's block: reflected borders, InstanceNorm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, kernel_size=3),
            nn.InstanceNorm2d(dim),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, kernel_size=3),
            nn.InstanceNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def cycle_gan_generator(ngf: int = 16) -> nn.Module:
    """CycleGAN's generator, one Sequential."""
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, ngf, kernel_size=7),
        nn.InstanceNorm2d(ngf),
        nn.ReLU(True),
        nn.Conv2d(ngf, ngf * 2, kernel_size=3, stride=2, padding=1),
        nn.InstanceNorm2d(ngf * 2),
        nn.ReLU(True),
        *(CycleResnetBlock(ngf * 2) for _ in range(3)),
        nn.ConvTranspose2d(ngf * 2, ngf, kernel_size=3, stride=2, padding=1, output_padding=1),
        nn.InstanceNorm2d(ngf),
        nn.ReLU(True),
        nn.ReflectionPad2d(3),
        nn.Conv2d(ngf, 3, kernel_size=7),
        nn.Tanh(),
    )


class ConvAutoencoder(nn.Module):
    """Down to a code of 32 numbers and up again, with the shape of the code's image written down."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 32),
        )
        self.expand = nn.Linear(32, 32 * 7 * 7)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        code = self.encoder(x)
        x = F.relu(self.expand(code)).view(-1, 32, 7, 7)
        return self.decoder(x)


class VAE(nn.Module):
    """A variational autoencoder that draws in training and gives the mean in evaluation."""

    def __init__(self, latent_dim: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(),
        )
        self.fc_mu = nn.Linear(64 * 8 * 8, latent_dim)
        self.fc_var = nn.Linear(64 * 8 * 8, latent_dim)
        self.decoder_input = nn.Linear(latent_dim, 64 * 8 * 8)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """A draw in training, the mean otherwise."""
        if self.training:
            std = torch.exp(0.5 * logvar)
            eps = torch.randn_like(std)
            return mu + eps * std
        return mu

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.flatten(self.encoder(x), start_dim=1)
        mu, logvar = self.fc_mu(h), self.fc_var(h)
        z = self.reparameterize(mu, logvar)
        h = self.decoder_input(z).view(-1, 64, 8, 8)
        return self.decoder(h), mu, logvar


class DCGenerator(nn.Module):
    """DCGAN's generator: an image from 32 random numbers."""

    def __init__(self, nz: int = 32, ngf: int = 16) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 4, 4, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 4),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 4, ngf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, 3, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z.view(z.size(0), z.size(1), 1, 1))


class ESPCN(nn.Module):
    """Super-resolution by a pixel shuffle at the end."""

    def __init__(self, upscale_factor: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, upscale_factor**2, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv1(x))
        x = torch.tanh(self.conv2(x))
        return torch.sigmoid(self.pixel_shuffle(self.conv3(x)))


class EDSRBlock(nn.Module):
    """Two convolutions without normalisation; the residual is scaled."""

    def __init__(self, n_feats: int, res_scale: float = 0.1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_feats, n_feats, 3, padding=1), nn.ReLU(True), nn.Conv2d(n_feats, n_feats, 3, padding=1)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        res = self.body(x).mul(self.res_scale)
        res += x
        return res


class EDSR(nn.Module):
    """Super-resolution with pixel shuffles in the middle of the network."""

    rgb_mean: Tensor

    def __init__(self, n_feats: int = 32) -> None:
        super().__init__()
        self.register_buffer("rgb_mean", torch.tensor([0.45, 0.44, 0.40]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, n_feats, 3, padding=1)
        blocks = [EDSRBlock(n_feats) for _ in range(4)]
        self.body = nn.Sequential(*blocks, nn.Conv2d(n_feats, n_feats, 3, padding=1))
        self.tail = nn.Sequential(
            nn.Conv2d(n_feats, 4 * n_feats, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(n_feats, 4 * n_feats, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(n_feats, 3, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x - self.rgb_mean)
        res = self.body(x)
        res += x
        return self.tail(res) + self.rgb_mean


class TimeResnetBlock(nn.Module):
    """A diffusion U-Net's block: GroupNorm, SiLU, and the time's embedding added to every pixel."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(8, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb = nn.Linear(time_channels, out_channels)
        self.norm2 = nn.GroupNorm(8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h += self.time_emb(F.silu(t))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.shortcut(x)


class DiffusionUNet(nn.Module):
    """A small diffusion U-Net: an image and its time."""

    def __init__(self, ch: int = 32) -> None:
        super().__init__()
        self.ch = ch
        self.time_mlp = nn.Sequential(nn.Linear(ch, ch * 4), nn.SiLU(), nn.Linear(ch * 4, ch * 4))
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.down = TimeResnetBlock(ch, ch * 2, ch * 4)
        self.downsample = nn.Conv2d(ch * 2, ch * 2, 3, stride=2, padding=1)
        self.mid = TimeResnetBlock(ch * 2, ch * 2, ch * 4)
        self.up = TimeResnetBlock(ch * 4, ch, ch * 4)
        self.norm_out = nn.GroupNorm(8, ch)
        self.conv_out = nn.Conv2d(ch, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        half = self.ch // 2
        frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device, dtype=x.dtype) / (half - 1))
        emb = t[:, None] * frequencies[None, :]
        emb = self.time_mlp(torch.cat([emb.sin(), emb.cos()], dim=1))
        h1 = self.down(self.conv_in(x), emb)
        h = self.mid(self.downsample(h1), emb)
        h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        h = self.up(torch.cat((h, h1), dim=1), emb)
        return self.conv_out(F.silu(self.norm_out(h)))
