"""A conditional random field over the pixels of slices: labels follow edges of the image.

The mean field of Krähenbühl and Koltun 2011 with the truncated neighbourhood of Teichmann and Cipolla 2018: pixels
more than a few pixels apart do not interact, so that a few tensor operations suffice.
"""

from __future__ import annotations

import torch
from torch.nn import functional

_RADIUS = 4  # pixels
_ITERATIONS = 5
_APPEARANCE, _SMOOTHNESS = 1.0, 0.1  # weights of the two kernels
_STRENGTH = 5.0  # of all neighbours together, against the pixel's own log probabilities
_NEAR, _ALIKE, _SMOOTH = 3.0, 0.5, 1.5  # widths: pixels, standard deviations of the image, pixels
_PIXELS_AT_ONCE = 1 << 20


def refined(probabilities: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Probabilities after mean field inference, same shape.

    Args:
        probabilities: (N, classes, height, width) float32.
        images: (N, 1, height, width) float32, on any scale.
    """
    images = images / images.std().clamp_min(1e-6)
    size = max(1, _PIXELS_AT_ONCE // (images.shape[-1] * images.shape[-2]))
    parts = zip(probabilities.split(size), images.split(size), strict=True)
    return torch.cat([_mean_field(p, image) for p, image in parts])


def _mean_field(probabilities: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    shifts = [(y, x) for y in range(-_RADIUS, _RADIUS + 1) for x in range(-_RADIUS, _RADIUS + 1) if (y, x) != (0, 0)]
    kernels = []
    seen = torch.ones_like(images)
    for y, x in shifts:
        distance = float(y * y + x * x)
        difference = (images - _shifted(images, y, x)) ** 2
        kernel = _APPEARANCE * torch.exp(-distance / (2 * _NEAR**2) - difference / (2 * _ALIKE**2))
        kernel = (kernel + _SMOOTHNESS * torch.exp(torch.tensor(-distance / (2 * _SMOOTH**2)))) * _shifted(seen, y, x)
        kernels.append(kernel)
    total = sum(kernels[1:], kernels[0])
    unary = torch.log(probabilities.clamp_min(1e-6))
    current = probabilities
    for _ in range(_ITERATIONS):
        message = torch.zeros_like(current)
        for (y, x), kernel in zip(shifts, kernels, strict=True):
            message.addcmul_(kernel, _shifted(current, y, x))
        # The total weight of the neighbours does not depend on how many there are.
        current = torch.softmax(unary + _STRENGTH * message / total.clamp_min(1e-6), 1)
    return current


def _shifted(tensor: torch.Tensor, y: int, x: int) -> torch.Tensor:
    """The tensor moved by (y, x) pixels and filled up with 0."""
    padded = functional.pad(tensor, (_RADIUS, _RADIUS, _RADIUS, _RADIUS))
    height, width = tensor.shape[-2:]
    return padded[..., _RADIUS + y : _RADIUS + y + height, _RADIUS + x : _RADIUS + x + width]
