"""Networks that turn a slice into a feature vector, trained on unlabelled slices alone.

All see square pictures (N, 1, size, size) between 0 and 1, as `selection.slice_images` makes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from monai.networks.nets import MaskedAutoEncoderViT
from torch import nn

from ...core import BadInputError
from ...core.messages import _, joined
from ...selection import FEATURES

_BOTTLENECK = 64
_IMAGENET_MEAN, _IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PATCH = 8
_VGG19_SIZE = "548 MB"
_NEEDS_WEIGHTS = _("The features 'autoencoder' use a VGG-19 network with weights learned on ImageNet.")
_OTHER_CHOICES = _(
    "Or choose the features 'intensity', which need no weights, or a small autoencoder trained from scratch (a check "
    "box in the panel, --from-scratch on the command line)."
)


class SliceEncoder(nn.Module, ABC):
    """What training and use need to know of such a network.

    Attributes:
        size: side of its input pictures, in pixels. learning_rate: of AdamW.
    """

    size: int
    learning_rate: float

    @abstractmethod
    def prepared(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, 1, size, size) pictures through what is frozen: computed once for all of training."""

    @abstractmethod
    def loss(self, prepared: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """How badly the pictures are restored, a scalar."""

    @abstractmethod
    def encode(self, prepared: torch.Tensor) -> torch.Tensor:
        """(N, D) features."""


class SliceAutoencoder(SliceEncoder):
    """Convolutions, a fully connected bottleneck, and a light decoder (Zheng et al. 2020, eq. 3 and 4).

    Args:
        backbone: frozen convolutions that take three channels normalised as for ImageNet and divide the picture's
            sides by 32, such as VGG-19's; None for small ones, trained with the rest.
    """

    learning_rate = 1e-3

    def __init__(self, backbone: nn.Module | None = None):
        super().__init__()
        self.size = 128 if backbone is not None else 64
        self._is_frozen = backbone is not None
        self.convolutions = backbone if backbone is not None else _small_convolutions()
        with torch.no_grad():
            shape = self.prepared(torch.zeros(1, 1, self.size, self.size))
            inputs = (shape if self._is_frozen else self.convolutions(shape)).flatten(1).shape[1]
        for parameter in self.convolutions.parameters():
            parameter.requires_grad_(not self._is_frozen)
        self.bottleneck = nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, _BOTTLENECK))
        self.decoder = _decoder(self.size)

    def train(self, mode: bool = True) -> SliceAutoencoder:
        super().train(mode)
        if self._is_frozen:
            self.convolutions.eval()
        return self

    @torch.no_grad()
    def prepared(self, pictures: torch.Tensor) -> torch.Tensor:
        if not self._is_frozen:
            return pictures
        mean, spread = (pictures.new_tensor(v)[:, None, None] for v in (_IMAGENET_MEAN, _IMAGENET_SPREAD))
        return self.convolutions((pictures.expand(-1, 3, -1, -1) - mean) / spread)

    def encode(self, prepared: torch.Tensor) -> torch.Tensor:
        return self.bottleneck((prepared if self._is_frozen else self.convolutions(prepared)).flatten(1))

    def loss(self, prepared: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(self.decoder(self.encode(prepared)), pictures)


class SliceMaskedAutoencoder(SliceEncoder):
    """A vision transformer that restores pictures of which three quarters are hidden (He et al. 2022; Zhang 2025).

    Features are the mean of the encoder's tokens with nothing hidden.
    """

    size = 64
    learning_rate = 3e-3

    def __init__(self):
        super().__init__()
        self.network = MaskedAutoEncoderViT(
            in_channels=1,
            img_size=self.size,
            patch_size=_PATCH,
            hidden_size=128,
            mlp_dim=256,
            num_layers=4,
            num_heads=4,
            decoder_hidden_size=64,
            decoder_mlp_dim=128,
            decoder_num_layers=2,
            decoder_num_heads=4,
            spatial_dims=2,
        )

    def prepared(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures

    def encode(self, prepared: torch.Tensor) -> torch.Tensor:
        tokens = self.network.patch_embedding(prepared)
        start = self.network.cls_token.expand(len(tokens), -1, -1)
        return self.network.blocks(torch.cat((start, tokens), dim=1))[:, 1:].mean(dim=1)

    def loss(self, prepared: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        restored, hidden = self.network(prepared)
        wanted = nn.functional.unfold(pictures, _PATCH, stride=_PATCH).transpose(1, 2)
        error = ((restored - wanted) ** 2).mean(dim=2)
        return (error * hidden).sum() / hidden.sum()


def vgg19_convolutions(pretrained: bool = True, download: bool = False) -> nn.Module:
    """VGG-19's convolutions (Simonyan and Zisserman 2015) with weights learned on ImageNet, through torchvision.

    Args:
        pretrained: False: without these weights, because others will be loaded.
        download: whether they may be fetched when this computer has no copy of them.

    Raises BadInputError when torchvision is not installed, or the weights are missing and cannot or may not be fetched.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise BadInputError(
            _weights_problem(
                _(
                    "They come with the package torchvision, which is not installed. Install the torchvision that "
                    "matches the installed torch."
                )
            )
        ) from error
    if not pretrained:
        return models.vgg19().features
    weights = models.VGG19_Weights.IMAGENET1K_V1
    if not download and not _kept_copy(weights.url).is_file():
        raise BadInputError(
            _weights_problem(
                _(
                    "This computer has no copy of these weights yet, and nothing is downloaded unless you ask for it: "
                    "{size} from '{url}', once. Allow the download (the check box in the panel, downloadWeights=True "
                    "in the console, --download-weights on the command line)."
                ).format(size=_VGG19_SIZE, url=weights.url)
            )
        )
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise BadInputError(
            _weights_problem(
                _("These weights could not be fetched from '{url}' ({error}). Connect to the internet once.").format(
                    url=weights.url, error=error
                )
            )
        ) from error
    network = models.vgg19()
    network.load_state_dict(state)
    return network.features


def _weights_problem(problem: str) -> str:
    return joined(" ", [_NEEDS_WEIGHTS, problem, _OTHER_CHOICES])


def _kept_copy(url: str) -> Path:
    """Where torch keeps a file that it has downloaded."""
    return Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])


def build_encoder(kind: str, from_scratch: bool, pretrained: bool = True, download: bool = False) -> SliceEncoder:
    """The network behind the features of that name, untrained; see `vgg19_convolutions` for what it raises."""
    network: SliceEncoder = FEATURES.named(kind).loaded()(from_scratch, pretrained, download)
    return network


def slice_autoencoder(from_scratch: bool, pretrained: bool = True, download: bool = False) -> SliceEncoder:
    """The network behind the features 'autoencoder', untrained; see `vgg19_convolutions` for what it raises."""
    return SliceAutoencoder(None if from_scratch else vgg19_convolutions(pretrained, download))


def slice_masked_autoencoder(from_scratch: bool, pretrained: bool = True, download: bool = False) -> SliceEncoder:
    """The network behind the features 'mae', untrained; it always begins from scratch."""
    del from_scratch, pretrained, download
    return SliceMaskedAutoencoder()


def _small_convolutions() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _decoder(size: int) -> nn.Module:
    channels, side = 64, size // 16
    layers: list[nn.Module] = [
        nn.Linear(_BOTTLENECK, channels * side * side),
        nn.ReLU(),
        nn.Unflatten(1, (channels, side, side)),
    ]
    for inputs, outputs in ((64, 32), (32, 16), (16, 8)):
        layers += [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, padding=1))
