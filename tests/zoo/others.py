"""Architectures of no other family: flows, sampling at computed points, Fourier transforms, simulated quantization."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo.entry import Built, Entry, image

FAMILY = "others"


class Flow(nn.Module):
    """RealNVP: coupling layers, each scaling and shifting half of the variables by the other half, and the log-determinant."""

    def __init__(self, width: int = 6, layers: int = 4) -> None:
        super().__init__()
        half = width // 2
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(half, 16), nn.Tanh(), nn.Linear(16, 2 * half)) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = torch.zeros(x.shape[0])
        first, second = x.chunk(2, 1)
        for net in self.nets:
            scale, shift = net(first).chunk(2, 1)
            scale = torch.tanh(scale)
            first, second = second * scale.exp() + shift, first
            total = total + scale.sum(1)
        z = torch.cat([first, second], 1)
        return z, total - 0.5 * (z.square() + 1.8378770664093453).sum(1)


class SpatialTransformer(nn.Module):
    """A network computes an affine map from the image, and the image is sampled through it."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.locate = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 5, 2, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(32, 6),
        )  # fmt: skip
        self.classify = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(12, classes)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        identity = torch.tensor([1.0, 0, 0, 0, 1, 0])
        affine = (identity + 0.3 * self.locate(x)).view(-1, 2, 3)
        grid = functional.affine_grid(affine, list(x.shape), align_corners=False)
        straight = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return self.classify(straight), straight


class DeformableAttention(nn.Module):
    """Deformable DETR's attention: each query samples the map at a few computed points, weighted by a softmax."""

    def __init__(self, width: int = 16, heads: int = 2, points: int = 4) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.value = nn.Conv2d(3, width, 3, padding=1)
        self.offsets = nn.Linear(width, heads * points * 2)
        self.weights = nn.Linear(width, heads * points)
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor, queries: Tensor, places: Tensor) -> Tensor:
        batch, count, width = queries.shape
        values = self.value(x).view(batch * self.heads, width // self.heads, x.shape[2], x.shape[3])
        offsets = self.offsets(queries).view(batch, count, self.heads, self.points, 2).tanh() * 0.2
        grid = (places[:, :, None, None] * 2 - 1 + offsets).transpose(1, 2).flatten(0, 1)
        sampled = functional.grid_sample(values, grid, align_corners=False)
        weights = self.weights(queries).view(batch, count, self.heads, self.points).softmax(-1)
        mixed = (sampled * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
        return self.leave(mixed.view(batch, width, count).transpose(1, 2))


class Correlation(nn.Module):
    """The first step of RAFT's optical flow: features of two images, the correlation of all pairs, an expected displacement."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 7, 4, 3), nn.InstanceNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1)
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        a, b = self.features(first), self.features(second)
        correlation = torch.einsum("nchw,ncuv->nhwuv", a, b) / a.shape[1] ** 0.5
        weights = correlation.flatten(3).softmax(-1)
        cells = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"), -1).view(-1, 2)
        return (weights @ cells).permute(0, 3, 1, 2) - cells.T.view(1, 2, 8, 8)


class FourierFeatures(nn.Module):
    """Coordinates as sines and cosines of random frequencies, then a network with sine activations (a neural field)."""

    def __init__(self, count: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, count))
        self.layers = nn.ModuleList([nn.Linear(2 * count, 24), nn.Linear(24, 24)])
        self.leave = nn.Linear(24, 3)

    def forward(self, places: Tensor) -> Tensor:
        angles = 2 * torch.pi * places @ self.frequencies
        x = torch.cat([angles.sin(), angles.cos()], -1)
        for layer in self.layers:
            x = torch.sin(3 * layer(x))
        return self.leave(x).sigmoid()


class SpectralOperator(nn.Module):
    """A Fourier neural operator in one dimension: the low frequencies of a real transform are mixed and transformed back."""

    def __init__(self, width: int = 8, modes: int = 6, length: int = 32) -> None:
        super().__init__()
        self.modes, self.length = modes, length
        self.enter = nn.Conv1d(2, width, 1)
        self.real = nn.Parameter(torch.randn(width, width, modes) / width)
        self.imaginary = nn.Parameter(torch.randn(width, width, modes) / width)
        self.skip = nn.Conv1d(width, width, 1)
        self.leave = nn.Conv1d(width, 1, 1)

    def forward(self, field: Tensor) -> Tensor:
        x = self.enter(field)
        spectrum = torch.view_as_real(torch.fft.rfft(x, dim=2))[:, :, : self.modes]
        real, imaginary = spectrum[..., 0], spectrum[..., 1]
        mixed_real = torch.einsum("nim,iom->nom", real, self.real) - torch.einsum("nim,iom->nom", imaginary, self.imaginary)
        mixed_imaginary = torch.einsum("nim,iom->nom", real, self.imaginary) + torch.einsum("nim,iom->nom", imaginary, self.real)
        mixed = functional.pad(torch.stack([mixed_real, mixed_imaginary], -1), (0, 0, 0, self.length // 2 + 1 - self.modes))
        back = torch.fft.irfft(torch.view_as_complex(mixed.contiguous()), n=self.length, dim=2)
        return self.leave(functional.gelu(back + self.skip(x)))


class FakeQuantized(nn.Module):
    """A network trained for 8 bits, with fake quantization of weights per channel and of activations per tensor."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, 2, 1)
        self.leave = nn.Linear(8, classes)
        self.register_buffer("scales", torch.rand(8) * 0.01 + 0.002)
        self.register_buffer("zeros", torch.zeros(8, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.fake_quantize_per_tensor_affine(x, 0.03, 128, 0, 255)
        weight = torch.fake_quantize_per_channel_affine(self.convolution.weight, self.scales, self.zeros, 0, -127, 127)
        x = functional.conv2d(x, weight, self.convolution.bias, 2, 1).relu()
        x = torch.fake_quantize_per_tensor_affine(x.mean((2, 3)), 0.005, 0, 0, 255)
        return self.leave(x)


class Autoencoder(nn.Module):
    """VQ-VAE: convolutions down, the nearest codebook entry for each cell, transposed convolutions up."""

    def __init__(self, width: int = 12, codes: int = 16) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1))
        self.codes = nn.Embedding(codes, width)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cells = self.down(x).permute(0, 2, 3, 1)
        distances = cells.square().sum(-1, keepdim=True) - 2 * cells @ self.codes.weight.T + self.codes.weight.square().sum(-1)
        chosen = distances.argmin(-1)
        return self.up(self.codes(chosen).permute(0, 3, 1, 2)), chosen


class Gaussian(nn.Module):
    """Mean and variance of a Gaussian process at new points, with the inverse of a Cholesky factor as a weight."""

    def __init__(self, known: int = 12) -> None:
        super().__init__()
        places = torch.randn(known, 3)
        self.register_buffer("places", places)
        kernel = torch.exp(-torch.cdist(places, places).square() / 2) + 0.1 * torch.eye(known)
        self.register_buffer("whiten", torch.linalg.inv(torch.linalg.cholesky(kernel)))
        self.register_buffer("seen", torch.randn(known))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        squares = (points[:, None] - self.places[None]).square().sum(-1)
        white = torch.exp(-squares / 2) @ self.whiten.T
        return white @ (self.whiten @ self.seen), 1 - white.square().sum(1)


class Diffusion(nn.Module):
    """A step of a denoising U-Net: sines of the time, group normalization shifted by the time, attention in the middle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.exp(-torch.arange(8) * 0.8))
        self.time = nn.Sequential(nn.Linear(16, width), nn.SiLU())
        self.enter = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.Conv2d(width, width, 3, 2, 1)
        self.norm = nn.GroupNorm(4, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.leave = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        angles = step[:, None] * self.frequencies
        time = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        first = self.enter(x)
        y = functional.silu(self.norm(self.down(first)) + time[..., None, None])
        cells = y.flatten(2).transpose(1, 2)
        cells = cells + self.attention(cells, cells, cells, need_weights=False)[0]
        y = functional.interpolate(cells.transpose(1, 2).view_as(y), scale_factor=2.0, mode="nearest")
        return self.leave(torch.cat([y, first], 1))


def flow() -> Built:
    return Flow(), {"x": torch.randn(2, 6)}, {}


def deformable() -> Built:
    return DeformableAttention(), {"x": image(16), "queries": torch.randn(2, 7, 16), "places": torch.rand(2, 7, 2)}, {}


def correlation() -> Built:
    return Correlation(), {"first": image(), "second": image()}, {}


def fourier() -> Built:
    return FourierFeatures(), {"places": torch.rand(2, 9, 2)}, {"places": {1: "points"}}


def spectral() -> Built:
    return SpectralOperator(), {"field": torch.randn(2, 2, 32)}, {}


def diffusion() -> Built:
    return Diffusion(), {"x": image(16), "step": torch.rand(2) * 10}, {}


ENTRIES = (
    Entry("coupling_flow", FAMILY, flow),
    Entry("spatial_transformer", FAMILY, lambda: (SpatialTransformer(), {"x": image(32)}, {}), saved=True),
    Entry("deformable_attention", FAMILY, deformable),
    Entry("optical_flow", FAMILY, correlation),
    Entry("fourier_features", FAMILY, fourier),
    Entry("fourier_operator", FAMILY, spectral, saved=True),
    Entry("fake_quantized", FAMILY, lambda: (FakeQuantized(), {"x": image(32)}, {})),
    Entry("vq_vae", FAMILY, lambda: (Autoencoder(), {"x": image(32)}, {})),
    Entry("gaussian_process", FAMILY, lambda: (Gaussian(), {"points": torch.randn(2, 3)}, {})),
    Entry("diffusion_step", FAMILY, diffusion),
)
