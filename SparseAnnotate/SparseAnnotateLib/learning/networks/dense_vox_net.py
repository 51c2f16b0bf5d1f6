"""DenseVoxNet (Yu et al. 2017) and its Y-shaped form with two inputs (Zheng et al. 2020, figure 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers import get_norm_layer
from monai.networks.layers.factories import Conv, Dropout, Pool
from torch import nn
from torch.nn import functional

from .outputs import Outputs

_STEM_FEATURES = 16


class DenseVoxNet(nn.Module):
    """Two densely connected blocks at a half and a quarter of the resolution, brought back by transposed convolutions.

    As in Yu et al. 2017: a first convolution with 16 features and stride 2, blocks of 12 layers (BN, ReLU, convolution)
    that each add 12 features to all those before, 1x1x1 convolutions and pooling between the blocks. Unlike there,
    the normalisation is by instance by default, because patches come one or two at a time, and the features of the
    first layer at full resolution reach the classifier, because structures may be a few voxels wide.

    Args:
        dimensions: 2 or 3.
        in_channels, out_channels: of the image, and classes with background.
        growth: features that each layer adds. layers: layers of both blocks.
        strides: of the first convolution and of the pooling, per axis; 1 where slices are thick.
        up: features of the two transposed convolutions, on the way back to full resolution.
        dropout: share dropped after each convolution of the blocks.
        norm: MONAI's name of the normalisation; 'batch' is Yu's.
        has_auxiliary: whether it has an auxiliary output in training: logits from the features of the first block,
            brought to full resolution by linear interpolation (there: by a transposed convolution that begins as one).
    """

    training_only = ("rest.auxiliary",)

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        out_channels: int,
        growth: int = 12,
        layers: tuple[int, int] = (12, 12),
        strides: Sequence[Sequence[int]] | None = None,
        up: tuple[int, int] = (128, 64),
        dropout: float = 0.0,
        norm: str = "instance",
        has_auxiliary: bool = False,
    ):
        super().__init__()
        kind = (dimensions, dropout, norm)
        first, second = strides or [(2,) * dimensions] * 2
        self.stem = _Stem(dimensions, in_channels, first)
        self.first = _DenseBlock(_STEM_FEATURES, growth, layers[0], *kind)
        self.rest = _Rest(self.first.features, _STEM_FEATURES, out_channels, growth, layers[1], first, second, up, kind)
        if has_auxiliary:
            self.rest.add_auxiliary(out_channels)

    def forward(self, image: torch.Tensor) -> Outputs:
        """(N, channels, *spatial) to logits (N, classes, *spatial); in training with auxiliary ones, if it has them."""
        full, half = self.stem(image)
        return self.rest(self.first(half), full)


class YShapedDenseVoxNet(nn.Module):
    """DenseVoxNet with two arms: the image, and the mean of its pseudo-labels (Zheng et al. 2020, figure 4).

    Each arm has its own first convolution and dense block; then both are joined. The two inputs come as one tensor,
    the image's channels first, so that any sliding window inference works.

    Args: as of DenseVoxNet; prior_channels: of the mean pseudo-label, one for each class.
    """

    training_only = DenseVoxNet.training_only

    def __init__(
        self,
        dimensions: int,
        in_channels: int,
        prior_channels: int,
        out_channels: int,
        growth: int = 12,
        layers: tuple[int, int] = (6, 12),
        strides: Sequence[Sequence[int]] | None = None,
        up: tuple[int, int] = (128, 64),
        dropout: float = 0.0,
        norm: str = "instance",
        has_auxiliary: bool = False,
    ):
        super().__init__()
        kind = (dimensions, dropout, norm)
        first, second = strides or [(2,) * dimensions] * 2
        self.in_channels = in_channels
        self.stems = nn.ModuleList([_Stem(dimensions, n, first) for n in (in_channels, prior_channels)])
        arms = [_DenseBlock(_STEM_FEATURES, growth, layers[0], *kind) for _ in range(2)]
        self.arms = nn.ModuleList(arms)
        joined = sum(arm.features for arm in arms)
        self.rest = _Rest(joined, 2 * _STEM_FEATURES, out_channels, growth, layers[1], first, second, up, kind)
        if has_auxiliary:
            self.rest.add_auxiliary(out_channels)

    def forward(self, image_and_prior: torch.Tensor) -> Outputs:
        """(N, image + prior channels, *spatial) to what `DenseVoxNet` returns."""
        parts = image_and_prior[:, : self.in_channels], image_and_prior[:, self.in_channels :]
        stems = [stem(part) for stem, part in zip(self.stems, parts, strict=True)]
        halves = [arm(half) for arm, (_, half) in zip(self.arms, stems, strict=True)]
        return self.rest(torch.cat(halves, 1), torch.cat([full for full, _ in stems], 1))


class _Stem(nn.Module):
    """The features of an input at full resolution, and after the first stride."""

    def __init__(self, dimensions: int, channels: int, stride: Sequence[int]):
        super().__init__()
        convolution = Conv[Conv.CONV, dimensions]
        self.full = convolution(channels, _STEM_FEATURES, 3, padding=1)
        self.strided = convolution(_STEM_FEATURES, _STEM_FEATURES, 3, stride=tuple(stride), padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        full = self.full(x)
        return full, self.strided(torch.relu(full))


class _DenseBlock(nn.Module):
    """Layers that each see all features before them and add `growth` of their own."""

    def __init__(self, channels: int, growth: int, layers: int, dimensions: int, dropout: float, norm: str):
        super().__init__()
        self.layers = nn.ModuleList()
        for number in range(layers):
            seen = channels + number * growth
            parts = [
                get_norm_layer((norm, {"affine": True}), dimensions, seen),
                nn.ReLU(inplace=True),
                Conv[Conv.CONV, dimensions](seen, growth, 3, padding=1, bias=False),
            ]
            if dropout:
                parts.append(Dropout[Dropout.DROPOUT, dimensions](dropout))
            self.layers.append(nn.Sequential(*parts))
        self.features = channels + layers * growth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class _Rest(nn.Module):
    """Everything after the first dense block: transition, pooling, second block, and back to full resolution."""

    def __init__(
        self,
        channels: int,
        full_channels: int,
        classes: int,
        growth: int,
        layers: int,
        first: Sequence[int],
        second: Sequence[int],
        up: tuple[int, int],
        kind: tuple[int, float, str],
    ):
        super().__init__()
        dimensions, _, norm = kind
        self.dimensions = dimensions
        convolution, pool = Conv[Conv.CONV, dimensions], Pool[Pool.MAX, dimensions]
        raising = Conv[Conv.CONVTRANS, dimensions]
        narrowed = min(channels, _STEM_FEATURES + 12 * growth)

        def unit(seen: int, layer: nn.Module) -> nn.Sequential:
            return nn.Sequential(
                get_norm_layer((norm, {"affine": True}), dimensions, seen), nn.ReLU(inplace=True), layer
            )

        self.narrowed = narrowed
        self.auxiliary: nn.Module | None = None
        self.transition = unit(channels, convolution(channels, narrowed, 1, bias=False))
        self.pool = pool(tuple(second), tuple(second))
        self.second = _DenseBlock(narrowed, growth, layers, *kind)
        wide = self.second.features
        self.up_second = unit(wide, raising(wide, up[0], tuple(second), tuple(second), bias=False))
        self.up_first = unit(up[0], raising(up[0], up[1], tuple(first), tuple(first)))
        self.classifier = unit(up[1] + full_channels, convolution(up[1] + full_channels, classes, 1))

    def add_auxiliary(self, classes: int) -> None:
        """Last, so that the other layers begin with the same weights whether or not there is one."""
        self.auxiliary = Conv[Conv.CONV, self.dimensions](self.narrowed, classes, 1)

    def forward(self, x: torch.Tensor, full: torch.Tensor) -> Outputs:
        halved = self.transition(x)
        x = self.second(self.pool(halved))
        x = self.up_first(self.up_second(x))
        logits = self.classifier(torch.cat([x, full], 1))
        if self.auxiliary is None or not self.training:
            return logits
        mode = "bilinear" if self.dimensions == 2 else "trilinear"
        return logits, functional.interpolate(self.auxiliary(halved), size=full.shape[2:], mode=mode)
