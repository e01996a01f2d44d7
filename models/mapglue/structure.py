"""The light extractor: fixed orientation channels, blind to contrast, and a small network on them.

What modalities share is where structure lies and which way it runs, not how bright it is. The first layer
therefore is a fixed bank of oriented filters whose energies are normalised by their surroundings; only what
follows is learned. Orientation energies are those of log-Gabor phase congruency in spirit (Kovesi, "Image
features from phase congruency", Videre 1(3), 1999), cut to three octaves of small kernels.
"""

# No postponed annotations: TorchScript reads types, not their names.

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.mapglue.saliency import blur
from models.mapglue.superpoint import DenseFeatures

ORIENTATIONS = 8
STRIDE = 4
_OCTAVES = 3
_SIZE, _WAVELENGTH, _SPREAD = 9, 4.5, 2.0


def oriented_kernels() -> Tensor:
    """Return even and odd filters, float32 (16, 1, 9, 9): 8 orientations over half a turn of each."""
    reach = torch.arange(_SIZE, dtype=torch.float64) - _SIZE // 2
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    window = torch.exp(-(x**2 + y**2) / (2 * _SPREAD**2))
    kernels = []
    for phase in (0.0, math.pi / 2):
        for i in range(ORIENTATIONS):
            angle = math.pi * i / ORIENTATIONS
            wave = torch.cos(2 * math.pi / _WAVELENGTH * (x * math.cos(angle) + y * math.sin(angle)) - phase)
            kernel = window * (wave - (window * wave).sum() / window.sum())  # blind to brightness
            kernels.append(kernel / kernel.norm())
    return torch.stack(kernels)[:, None].float()


class OrientationChannels(nn.Module):
    """How strongly structure runs which way, at three octaves, whatever the contrast."""

    kernels: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernels", oriented_kernels(), persistent=False)
        self.octaves = _OCTAVES

    def forward(self, grey: Tensor) -> list[Tensor]:
        """Return energies of each octave, 0 to about 1.

        Args:
            grey: float32 (batch, 1, height, width), sides multiples of 16.

        Returns:
            float32 (batch, 8, h, w) at half, a quarter and an eighth of the size.
        """
        octaves: list[Tensor] = []
        level = grey
        for _ in range(self.octaves):
            level = F.avg_pool2d(level, 2)
            octaves.append(self._normalise(self._energy(level)))
        return octaves

    def _energy(self, level: Tensor) -> Tensor:
        reach = self.kernels.shape[-1] // 2
        padded = F.pad(level, [reach, reach, reach, reach], mode="replicate")
        waves = F.conv2d(padded, self.kernels.to(level.dtype))
        even, odd = waves.chunk(2, dim=1)
        return torch.sqrt(even**2 + odd**2 + 1e-12)

    def _normalise(self, energy: Tensor) -> Tensor:
        total = energy.square().sum(dim=1, keepdim=True)
        around = blur(total, 6.0).sqrt()
        # Ground with far less structure than the rest of the image stays quiet instead of becoming noise.
        floor = 0.15 * around.mean(dim=(2, 3), keepdim=True) + 1e-5
        return energy / (around + floor)


class _Residual(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        with torch.no_grad():  # close to passing the input on, yet nothing is stuck at zero
            self.conv.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.leaky_relu(self.conv(x), 0.1)


class StructureNet(nn.Module):
    """Dense descriptors for each 4×4 pixels from orientation channels."""

    def __init__(self, width: int, semantic_width: int) -> None:
        super().__init__()
        fine = 32
        self.channels = OrientationChannels()
        self.stem = nn.Conv2d(ORIENTATIONS, 24, 4, stride=2, padding=1)
        self.mix = nn.Conv2d(24 + _OCTAVES * ORIENTATIONS, fine, 3, padding=1)
        self.fine = _Residual(fine, 1)
        self.coarse_in = nn.Conv2d(fine, semantic_width, 4, stride=2, padding=1)
        self.coarse = nn.Sequential(*[_Residual(semantic_width, d) for d in (1, 2, 3, 1)])
        self.coarse_out = nn.Conv2d(semantic_width, fine, 1)
        self.describe = nn.Conv2d(fine, width, 3, padding=1)
        # Descriptors start as the orientation channels themselves, turned into the width at random.
        self.channels_as_is = nn.Conv2d(_OCTAVES * ORIENTATIONS, width, 1, bias=False)
        nn.init.orthogonal_(self.channels_as_is.weight)
        self.reliability = nn.Conv2d(fine, 1, 1)
        nn.init.zeros_(self.reliability.weight)

    def forward(self, grey: Tensor) -> DenseFeatures:
        """Return the features of images.

        Args:
            grey: float32 (batch, 1, height, width), 0 to 1, sides multiples of 16.
        """
        return self.look(grey)[0]

    def look(self, grey: Tensor) -> tuple[DenseFeatures, Tensor]:
        """Return the features, and how far each descriptor is to be relied on, logits (batch, 1, h, w)."""
        octaves = self.channels(grey)
        cells = self._at_stride(octaves)
        x = torch.cat([F.relu(self.stem(octaves[0])), cells], dim=1)
        x = self.fine(F.relu(self.mix(x)))
        coarse = self.coarse(F.relu(self.coarse_in(x)))
        wide = F.interpolate(self.coarse_out(coarse), scale_factor=2.0, mode="bilinear", align_corners=False)
        x = F.relu(x + wide)
        as_is = self.channels_as_is(cells - blur(cells, 8.0))
        descriptors = F.normalize(self.describe(x) + as_is, dim=1)
        # Learned beside the descriptors without bending them.
        reliability = self.reliability(x.detach())
        scores = self._scores(octaves, reliability)
        return DenseFeatures(scores, descriptors, F.avg_pool2d(coarse, 2)), reliability

    def _at_stride(self, octaves: list[Tensor]) -> Tensor:
        """Return all octaves at a quarter of the image's size, float32 (batch, 24, h, w)."""
        coarse = F.interpolate(octaves[2], scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.cat([F.avg_pool2d(octaves[0], 2), octaves[1], coarse], dim=1)

    def _scores(self, octaves: list[Tensor], reliability: Tensor) -> Tensor:
        """Return how much structure there is that does not all run one way, and can be relied on."""
        corners = corner_strength(octaves[0])
        corners = corners + F.interpolate(
            corner_strength(octaves[1]), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        relied = F.interpolate(
            torch.sigmoid(reliability), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        return (corners * relied).clamp(0, 1)[:, 0]


def corner_strength(energy: Tensor) -> Tensor:
    """Return the energy left beside the main orientation plus a little of all, (batch, 1, h, w).

    Args:
        energy: float32 (batch, 8, h, w), one channel per orientation over half a turn.
    """
    count = energy.shape[1]
    angles = torch.arange(count, device=energy.device, dtype=energy.dtype) * (2 * math.pi / count)
    total = energy.sum(dim=1, keepdim=True)
    along = (energy * torch.cos(angles)[:, None, None]).sum(dim=1, keepdim=True)
    across = (energy * torch.sin(angles)[:, None, None]).sum(dim=1, keepdim=True)
    return (total - 0.9 * torch.sqrt(along**2 + across**2 + 1e-12)) / count
