"""Batches of drawn places with the truth about them, the same for the same seed and number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from infra.errors import InputError
from models.mars.places import colour_daylight, place_statistics
from models.modality.draws import Draws
from models.modality.renderings import render_scenes
from models.modality.scenes import Scenes, draw_scenes

_SIDE = 2
"""A place is cut into 2 × 2 chips: drawing one place costs less than drawing four."""
_MOST_TRIES = 200
_LEARNING, _HELD_OUT = 0, 1
_DRAWING, _LOOKING = 0, 1


class View(NamedTuple):
    """What a network is shown at once; an image that is missing is None.

    Attributes:
        rgb: float32 (batch, 3, height, width), standardised.
        sar: float32 (batch, 1, height, width), standardised.
    """

    rgb: Tensor | None
    sar: Tensor | None


@dataclass(frozen=True)
class Batch:
    """Chips and the truth about them.

    Attributes:
        views: what is seen: one view, or two of them, e.g. before and after.
        truth: name → tensor with the batch as its first axis.
    """

    views: tuple[View, ...]
    truth: dict[str, Tensor]

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(next(iter(self.truth.values())))


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """How batches are made.

    Attributes:
        chips: in a batch, a multiple of 4.
        size_px: side of the square chips, a multiple of 32.
        held_out: batches that answers are measured on.
        reuse: batches that look at the same places, each at another part in another light: finding a place
            costs more than looking.
        missing: how often a batch to learn from shows one of its two images only, where a view has two.
    """

    chips: int = 8
    size_px: int = 64
    held_out: int = 12
    reuse: int = 4
    missing: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: one is out of range.
        """
        if self.chips < 1 or self.chips % _SIDE**2 or min(self.held_out, self.reuse) < 1:
            raise InputError(
                f"Lessons of {self.chips} chips, measured on {self.held_out} batches, places used "
                f"{self.reuse} times; expected a multiple of {_SIDE**2}, 1 or more, and 1 or more."
            )
        if self.size_px < 32 or self.size_px % 32 or not 0 <= self.missing <= 1:
            raise InputError(
                f"Chips of {self.size_px} px, {self.missing} of them incomplete; expected a multiple of 32 "
                "and a part of 1."
            )


@dataclass(frozen=True)
class PlaceDraws:
    """The random numbers of one place in one batch.

    Attributes:
        key: which place; the same for the few batches it is looked at in.
        generator: everything else: the window, the turn, light and passes.
    """

    key: tuple[int, ...]
    generator: np.random.Generator


Place = Callable[[LessonConfig, PlaceDraws], Batch]
"""Makes the four chips of one place."""


def draw_batch(place: Place, config: LessonConfig, seed: int, index: int, *, held_out: bool) -> Batch:
    """Return a batch, the same whatever was drawn before.

    Args:
        place: makes chips.
        config: how many, how large.
        seed: of a training, or of what is held out.
        index: which batch, 0 and up.
        held_out: places to measure on, each looked at once; no seed of a training draws the same ones.
    """
    kind, group = (_HELD_OUT, index) if held_out else (_LEARNING, index // config.reuse)
    parts = [
        place(
            config,
            PlaceDraws(
                (seed, group, kind, number), np.random.default_rng([seed, index, kind, number, _LOOKING])
            ),
        )
        for number in range(config.chips // _SIDE**2)
    ]
    return join_batches(parts)


def join_batches(parts: Sequence[Batch]) -> Batch:
    """Return chips of several batches as one; all of them show and know the same."""
    views = tuple(
        View(*(_join(images) for images in zip(*same, strict=True)))
        for same in zip(*(part.views for part in parts), strict=True)
    )
    truth = {name: torch.cat([part.truth[name] for part in parts]) for name in parts[0].truth}
    return Batch(views, truth)


def show_only(batch: Batch, side: str) -> Batch:
    """Return a batch whose views have the one image only, ``rgb`` or ``sar``."""
    views = tuple(View(view.rgb, None) if side == "rgb" else View(None, view.sar) for view in batch.views)
    return Batch(views, batch.truth)


def _join(images: Sequence[Tensor | None]) -> Tensor | None:
    known = [image for image in images if image is not None]
    return torch.cat(known) if known else None


def find_place(
    config: LessonConfig, draws: PlaceDraws, wanted: Callable[[Scenes], bool] | None = None
) -> Scenes:
    """Return a window of 2 × 2 chips of a place of the wanted kind, turned and mirrored at random.

    Raises:
        InputError: none of 200 places is of that kind.
    """
    side = _SIDE * config.size_px
    whole = _draw_wanted(side + config.size_px // 2, draws.key, wanted)
    left, top, turns, mirrored = (int(draws.generator.integers(most)) for most in (*_ends(config), 4, 2))

    def cut(layer: Tensor) -> Tensor:
        turned = torch.rot90(layer[..., top : top + side, left : left + side], turns, (2, 3))
        return turned.flip(3) if mirrored else turned

    return Scenes(*(cut(getattr(whole, layer.name)).contiguous() for layer in fields(whole)))


def _ends(config: LessonConfig) -> tuple[int, int]:
    return config.size_px // 2 + 1, config.size_px // 2 + 1


@lru_cache(maxsize=16)
def _draw_wanted(size: int, key: tuple[int, ...], wanted: Callable[[Scenes], bool] | None) -> Scenes:
    """Draw places until one is of the wanted kind; kept, for the batches that look at it again."""
    generator = np.random.default_rng([*key, _DRAWING])
    for _ in range(_MOST_TRIES):
        scenes = draw_scenes(1, size=size, generator=generator)
        if wanted is None or wanted(scenes):
            return scenes
    raise InputError(f"None of {_MOST_TRIES} drawn places is of the wanted kind; ask for what places have.")


def cut_chips(layer: Tensor) -> Tensor:
    """Cut layers of one place, (1, bands, 2·size, 2·size), into chips (4, bands, size, size)."""
    bands, height, width = layer.shape[1:]
    split = layer.reshape(bands, _SIDE, height // _SIDE, _SIDE, width // _SIDE)
    return split.permute(1, 3, 0, 2, 4).reshape(_SIDE**2, bands, height // _SIDE, width // _SIDE)


def show_day(scenes: Scenes, generator: np.random.Generator) -> Tensor:
    """Return a place as a camera sees it, float32 (1, 3, height, width), 0 to 1; other light each time."""
    draws = Draws.start(generator, 1, torch.device("cpu"))
    return colour_daylight(scenes, render_scenes(scenes, ["daylight"], draws), draws)


def show_radar(scenes: Scenes, generator: np.random.Generator) -> Tensor:
    """Return a place as a radar sees it, float32 (1, 1, height, width), 0 to 1; another pass each time."""
    return render_scenes(scenes, ["radar"], Draws.start(generator, 1, torch.device("cpu")))


def show_both(scenes: Scenes, generator: np.random.Generator) -> View:
    """Return a place's chips as a camera and a radar see them, standardised."""
    return standardise(cut_chips(show_day(scenes, generator)), cut_chips(show_radar(scenes, generator)))


def standardise(rgb: Tensor | None, sar: Tensor | None) -> View:
    """Return images 0 to 1 with the mean and deviation of drawn places taken off."""
    return View(*place_statistics().standardise(rgb, sar))
