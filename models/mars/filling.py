"""What a modality that was not given may look like: its maps, guessed from those of the other one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.mars.config import MarsConfig


class Filled(NamedTuple):
    """Maps as if both modalities had been seen.

    Attributes:
        missing: four maps of the one that was not given, finest first, (batch, width_i, …).
        given: the coarsest map of the one that was, which in truth the other one would have changed too.
    """

    missing: list[Tensor]
    given: Tensor


class ModalityFill(nn.Module):
    """Guess one modality's maps from the other's.

    A path from coarse to fine carries what is known of the place around a cell: one cell of a speckled
    image says little. Starts with 0 for every finer map and leaves the coarsest as they are: unlearned, it
    adds nothing that was not seen.

    Args:
        config: of the preset.
    """

    def __init__(self, config: MarsConfig) -> None:
        super().__init__()
        *finer, coarsest = config.widths
        width = config.fill_width
        entries = (*finer, 2 * coarsest)
        self.enter = nn.ModuleList(nn.Sequential(nn.LayerNorm(own), nn.Linear(own, width)) for own in entries)
        self.rise = nn.ModuleList(nn.Linear(width, 4 * width) for _ in finer)
        self.around = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, groups=width) for _ in entries)
        self.leave = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, own)) for own in entries
        )
        for layer in self.leave:
            assert isinstance(layer, nn.Sequential)
            nn.init.zeros_(layer[1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer[1].bias)  # type: ignore[arg-type]

    def forward(self, finer: list[Tensor], missing: Tensor, given: Tensor) -> Filled:
        """Return the maps of both.

        Args:
            finer: three maps of the modality that was given, finest first, (batch, width_i, …).
            missing: the coarsest map of the other one after the attention between modalities, (batch,
                width, rows, columns).
            given: likewise of the one that was given.
        """
        coarsest = torch.cat([missing, given], dim=1)
        entered = [
            enter(one.permute(0, 2, 3, 1)) for enter, one in zip(self.enter, (*finer, coarsest), strict=True)
        ]
        known, found = self._look_around(3, entered[3]), []
        corrected = coarsest + self._leave(3, known)
        for level in (2, 1, 0):
            spread = F.pixel_shuffle(self.rise[level](F.gelu(known)).permute(0, 3, 1, 2), 2)
            known = self._look_around(level, spread.permute(0, 2, 3, 1) + entered[level])
            found.append(self._leave(level, known))
        filled, changed = corrected.chunk(2, dim=1)
        return Filled([*reversed(found), filled], changed)

    def _look_around(self, level: int, known: Tensor) -> Tensor:
        seen: Tensor = self.around[level](F.gelu(known).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return known + seen

    def _leave(self, level: int, known: Tensor) -> Tensor:
        answer: Tensor = self.leave[level](known)
        return answer.permute(0, 3, 1, 2)


def filling_errors(guessed: Sequence[Tensor], truth: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield how far each map is from the true one; finer maps that are the true ones themselves are left out.

    Finer maps by the spread of each feature. The coarsest are normalised already: before anything is
    learned all places look alike there, and a small spread would drown all else that learns.
    """
    *finer, (guess, true) = zip(guessed, truth, strict=True)
    yield from (relative_error(*pair) for pair in finer if pair[0] is not pair[1])
    yield (guess.float() - true.float()).square().mean()


def relative_error(guess: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error over the truth's variance; 1 for guessing its mean everywhere.

    Args:
        guess: (batch, features, …).
        truth: of the same shape.
    """
    truth = truth.float()
    # Per feature: a strong one would drown the others.
    axes = [axis for axis in range(truth.ndim) if axis != 1]
    error = (guess.float() - truth).square().mean(dim=axes)
    return (error / (truth.var(dim=axes, correction=0) + 1e-4)).clamp_max(1e4).mean()
