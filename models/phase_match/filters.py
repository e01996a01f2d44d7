"""Log-Gabor filters in the frequency plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from models.phase_match.config import FilterBank

_COARSE_PX = 12.0
_CUT_OFF = 0.45
_CUT_SHARPNESS = 30


@dataclass(frozen=True)
class ScaleFilters:
    """The filters of one wavelength.

    Attributes:
        filters: float32 (orientations, rows, columns), in the order of ``fft2``.
        step: 1 if they cover the whole frequency plane; 2 if only its inner half along each side, for the
            answer is wanted at every second pixel and there is nothing further out.
    """

    filters: Tensor
    step: int


@lru_cache(maxsize=8)  # a bank is tens of megabytes; tiles of one run have one or two shapes
def log_gabor_bank(bank: FilterBank, shape: tuple[int, int], device: str) -> tuple[ScaleFilters, ...]:
    """Return the filters for images of a shape, finest first.

    Each covers one half of the plane, so the response to a real image is complex: its size says how much
    of an edge or line there is, its phase which of the two. A filter of orientation ``o`` answers to edges
    whose *normal* is turned by ``o / orientations`` of half a turn from the x axis towards the y axis.

    Source: Field, J. Opt. Soc. Am. A 4(12), 1987.
    """
    return tuple(_scale_filters(bank, shape, scale, device) for scale in range(bank.scales))


def _scale_filters(bank: FilterBank, shape: tuple[int, int], scale: int, device: str) -> ScaleFilters:
    wavelength = bank.shortest_px * bank.ratio**scale
    step = 2 if wavelength >= _COARSE_PX else 1
    fy = torch.fft.fftfreq(shape[0] // step, d=step, device=device)[:, None]
    fx = torch.fft.fftfreq(shape[1] // step, d=step, device=device)[None]
    radius = (fy.square() + fx.square()).sqrt()
    radius[0, 0] = 1.0  # its logarithm is asked for; the mean is taken out below
    angle = torch.atan2(fy, fx)
    angular = torch.stack([_angular(angle, bank, o) for o in range(bank.orientations)])
    filters: Tensor = _radial(radius * wavelength, radius, bank) * angular
    filters[..., 0, 0] = 0.0
    return ScaleFilters(filters, step)


def smooth_size(least: int, multiple: int) -> int:
    """Return the next length that a Fourier transform is quick at: factors 2, 3 and 5 only."""
    length = -(-least // multiple) * multiple
    while not _is_smooth(length):
        length += multiple
    return length


def _is_smooth(length: int) -> bool:
    for prime in (2, 3, 5):
        while length % prime == 0:
            length //= prime
    return length == 1


def _radial(relative: Tensor, radius: Tensor, bank: FilterBank) -> Tensor:
    low_pass = 1.0 / (1.0 + (radius / _CUT_OFF) ** _CUT_SHARPNESS)  # corners have no direction
    return torch.exp(-(torch.log(relative) ** 2) / (2 * math.log(bank.bandwidth) ** 2)) * low_pass


def _angular(angle: Tensor, bank: FilterBank, orientation: int) -> Tensor:
    off = angle - orientation * math.pi / bank.orientations
    off = torch.atan2(torch.sin(off), torch.cos(off))
    return torch.exp(-0.5 * (off / math.radians(bank.spread_deg)) ** 2)
