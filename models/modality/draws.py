"""Random numbers that belong to one sample each, so that a batch equals its samples one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Range = tuple[float, float]
"""Lowest and highest value of an evenly drawn strength."""


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch: two streams per sample, independent of its neighbours.

    Single numbers come from numpy and are the same on every device; fields of pixels come from torch on the
    device they are needed on, so a GPU's noise differs from the CPU's of the same seed.

    Attributes:
        numbers: one stream of single numbers per sample.
        noises: one stream of pixels per sample, all on ``device``.
        device: where the pixels are drawn.
    """

    numbers: tuple[np.random.Generator, ...]
    noises: tuple[torch.Generator, ...]
    device: torch.device

    @classmethod
    def start(cls, generator: np.random.Generator, count: int, device: torch.device) -> Draws:
        """Start the streams of ``count`` samples; as many are taken from the generator, one by one."""
        seeds = generator.integers(0, 2**62, size=count)
        noises = tuple(torch.Generator(device).manual_seed(int(seed)) for seed in seeds)
        return cls(tuple(np.random.default_rng(int(seed)) for seed in seeds), noises, device)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.numbers)

    def of(self, rows: Sequence[int]) -> Draws:
        """Return the streams of some samples; drawing from them moves the originals on."""
        return Draws(tuple(self.numbers[i] for i in rows), tuple(self.noises[i] for i in rows), self.device)

    def uniform(self, span: Range, count: int = 1) -> Tensor:
        """Return even draws, float32 (samples, count, 1, 1)."""
        return self._place(np.stack([stream.uniform(*span, count) for stream in self.numbers]))

    def table(self, span: Range, count: int) -> Tensor:
        """Return even draws, float32 (samples, count)."""
        return self.uniform(span, count)[..., 0, 0]

    def chance(self, probability: float) -> Tensor:
        """Return 1 with a probability, else 0, float32 (samples, 1, 1, 1)."""
        return (self.uniform((0.0, 1.0)) < probability).float()

    def pick(self, weights: Mapping[str, float]) -> list[str]:
        """Return one name per sample, drawn by weight; the weights need not sum to 1."""
        names = list(weights)
        edges = np.cumsum(list(weights.values())) / sum(weights.values())
        last = len(names) - 1  # a draw may round past the last edge
        return [names[min(int(np.searchsorted(edges, s.uniform(), "right")), last)] for s in self.numbers]

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal pixels, float32 (samples, *shape)."""
        drawn = [torch.randn(shape, generator=noise, device=self.device) for noise in self.noises]
        return torch.stack(drawn)

    def even(self, *shape: int) -> Tensor:
        """Return pixels drawn evenly from 0 to 1, float32 (samples, *shape)."""
        even: Tensor = torch.special.ndtr(self.normal(*shape))  # on a CPU normal pixels are the faster ones
        return even

    def _place(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)[..., None, None]
