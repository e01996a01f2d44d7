"""Phase congruency: where the waves of an image stand in step, whatever their contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from models.matching.transforms import Transform
from models.phase_match.borders import WorkImage, coarsen, fill_smoothly, shrink_mask
from models.phase_match.config import FilterBank
from models.phase_match.filters import ScaleFilters, log_gabor_bank, smooth_size

STEP = 2
"""Energies are sampled at every second pixel: they vary slower than the waves they are made of."""
_PAD_PX = 24
_MARGIN_PX = 5
_NOISE_DEVIATIONS = 2.0
_FLOOR = 0.02
_LEAST_SAMPLES = 64


@dataclass(frozen=True)
class OrientedEnergy:
    """How much of an edge or line of each direction there is.

    Attributes:
        energy: float32 (orientations, rows, columns), from 0; 0 where not valid.
        valid: float32 (rows, columns), 1 or 0.
        pixel_from_sample: to the pixels of the image.
    """

    energy: Tensor
    valid: Tensor
    pixel_from_sample: Transform

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.valid.shape[0], self.valid.shape[1]


def measure_energy(image: WorkImage, bank: FilterBank) -> OrientedEnergy:
    """Return an image's phase congruency, one plane per orientation.

    The congruency of an orientation is the length of the sum of its responses over the scales, less what
    noise alone would give, over the sum of *all* responses' lengths: it is near 1 on a lone clear edge.

    Source: Kovesi, Videre 1(3), 1999; Li et al., IEEE TIP 29, 2020, doi 10.1109/TIP.2019.2959244.
    """
    amplitude, length, finest = _filter_image(image, bank)
    valid = shrink_mask(image.valid, _MARGIN_PX)[::STEP, ::STEP]
    inside = valid > 0
    if int(inside.sum()) < _LEAST_SAMPLES:
        return OrientedEnergy(torch.zeros_like(length), torch.zeros_like(valid), image.pixel_from_work)
    noise = _noise_length(finest[:, inside], bank)
    total = amplitude.sum(0)
    floor = _FLOOR * total[inside].mean() + 1e-6
    energy = (length - noise[:, None, None]).clamp(min=0) / (total + floor) * (bank.orientations / 2) * valid
    pixel_from_sample = image.pixel_from_work @ np.diag([STEP, STEP, 1.0])  # sample 0 lies on pixel 0
    return OrientedEnergy(energy, valid, pixel_from_sample)


def measure_moments(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest moment of an energy over its orientations, (rows, columns) each.

    The largest is high on edges, the smallest only where edges of several directions meet.
    """
    turns = torch.arange(len(energy), device=energy.device) * (math.pi / len(energy))
    along, across = energy * torch.cos(turns)[:, None, None], energy * torch.sin(turns)[:, None, None]
    a, b, c = along.square().sum(0), 2 * (along * across).sum(0), across.square().sum(0)
    root = (b.square() + (a - c).square()).sqrt()
    return (a + c + root) / 2, (a + c - root) / 2


def average_energy(energy: OrientedEnergy, shape: tuple[int, int]) -> OrientedEnergy:
    """Return the mean energy in larger cells; a cell is valid where half of it is."""
    rows, columns = energy.shape
    planes = torch.cat([energy.energy, energy.valid[None]])[None]
    means = torch.nn.functional.interpolate(planes, size=shape, mode="area")[0]
    valid = (means[-1] > 0.5).float()
    way = energy.pixel_from_sample @ coarsen(rows / shape[0], columns / shape[1])
    return OrientedEnergy(means[:-1] / means[-1].clamp(min=0.1) * valid, valid, way)


def _filter_image(image: WorkImage, bank: FilterBank) -> tuple[Tensor, Tensor, Tensor]:
    """Return, per orientation: summed lengths, length of the sum, lengths of the finest scale."""
    height, width = image.shape
    rows, columns = (smooth_size(n + 2 * _PAD_PX, 2 * STEP) for n in (height, width))
    frame = (_PAD_PX, columns - width - _PAD_PX, _PAD_PX, rows - height - _PAD_PX)
    grey = fill_smoothly(pad(image.grey, frame), pad(image.valid, frame))
    spectrum = torch.fft.fft2(grey - grey.mean())
    first, samples = _PAD_PX // STEP, (-(-height // STEP), -(-width // STEP))
    inner = (slice(None), slice(first, first + samples[0]), slice(first, first + samples[1]))
    amplitude = torch.zeros(bank.orientations, *samples, device=grey.device)
    summed = torch.zeros(bank.orientations, *samples, 2, device=grey.device)
    finest = amplitude
    for scale, filters in enumerate(log_gabor_bank(bank, (rows, columns), str(grey.device))):
        response = torch.view_as_real(torch.fft.ifft2(_thin_out(spectrum, filters)))[inner]
        size = response.square().sum(-1).sqrt()
        finest = size if scale == 0 else finest
        amplitude, summed = amplitude + size, summed + response
    return amplitude, summed.square().sum(-1).sqrt(), finest


def _thin_out(spectrum: Tensor, scale: ScaleFilters) -> Tensor:
    """Return the filtered spectra as of every ``STEP``-th pixel: exactly those, for a quarter of the work."""
    rows, columns = spectrum.shape
    if scale.step == STEP:
        inner = _inner_half(_inner_half(spectrum, 0), 1)
        return inner * scale.filters / STEP**2
    parts = (spectrum * scale.filters).reshape(-1, STEP, rows // STEP, STEP, columns // STEP)
    return parts.sum(dim=(1, 3)) / STEP**2


def _inner_half(spectrum: Tensor, axis: int) -> Tensor:
    """Return the lower half of the frequencies along an axis."""
    quarter = spectrum.shape[axis] // 4
    length = spectrum.shape[axis] // 2
    return torch.cat(
        [spectrum.narrow(axis, 0, length - quarter), spectrum.narrow(axis, -quarter, quarter)], axis
    )


def _noise_length(finest: Tensor, bank: FilterBank) -> Tensor:
    """Return what noise gives at most, per orientation: the finest scale is taken to be mostly noise.

    Its lengths are Rayleigh distributed, and fall with the wavelength as the filters' areas do.
    """
    mode = finest.median(dim=1).values / math.sqrt(math.log(4))
    total = mode * (1 - bank.ratio**-bank.scales) / (1 - 1 / bank.ratio)
    mean, deviation = math.sqrt(math.pi / 2), math.sqrt((4 - math.pi) / 2)
    return total * (mean + _NOISE_DEVIATIONS * deviation)
