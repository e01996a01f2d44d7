"""Batches MaRS learns from: aligned chips of drawn places, and of real ones where files of them are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from infra.errors import InputError
from models.mars.config import MarsConfig
from models.mars.masking import draw_masks
from models.mars.places import draw_places, place_statistics

Range = tuple[float, float]
Side = Literal["rgb", "sar"]
Stream = Literal["lessons", "held-out"]
_STREAM_KEYS: dict[Stream, tuple[int, ...]] = {"lessons": (), "held-out": (1,)}
Layers = tuple[Tensor, Tensor, Tensor]
"""Colours, radar, and where they are valid (1 or 0) of one place, each (channels, height, width)."""


class ChipSource(Protocol):
    """Aligned chips of real images, read by row: from files, or straight from a catalogue's cubes."""

    @property
    def name(self) -> str:
        """What the source is called."""

    @property
    def count(self) -> int:
        """How many chips there are."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """``rgb``, ``sar`` or both."""

    def read(
        self, rows: Sequence[int], sides: tuple[Side, ...]
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return standardised rgb and sar, float32, and where they are valid, as ``ChipFile.read`` does."""


@dataclass(frozen=True, kw_only=True)
class LessonConfig:
    """How batches are made.

    Attributes:
        chips: in a batch.
        size_px: of the square chips.
        scene_px: of the drawn places they are cut from.
        reuse: batches cut from the same drawn places; drawing one costs more than cutting.
        zoom: source pixels per pixel of a chip, narrowed to what fits into the source.
        masked: how many chips of a batch have squares hidden, to be rebuilt. The others are whole, and they
            alone are contrasted: hidden squares lie at the same places in both modalities, so an image
            would be told by its mask.
        alone: how many chips of a batch are shown once more, by one side alone.
        real: how many chips of a batch are real, where sources of them are given.
        optical: leave the radar side out altogether.
        jitter: how far brightness and contrast of a chip are changed, standard deviations; 0 also leaves
            the radar's speckle as it is.
    """

    chips: int = 24
    size_px: int = 128
    scene_px: int = 208
    reuse: int = 4
    zoom: Range = (0.7, 1.6)
    masked: int = 8
    alone: int = 4
    real: int = 4
    optical: bool = False
    jitter: float = 0.0

    def __post_init__(self) -> None:
        """Check what would come out as broken batches.

        Raises:
            InputError: a number out of its range.
        """
        if self.chips < 2 or self.reuse < 1:
            raise InputError(f"{self.chips} chips, reused {self.reuse} times; expected 2 or more, 1 or more.")
        for name, least, most in (
            ("masked", 1, self.chips - 1), ("alone", 0, self.chips), ("real", 0, self.chips)
        ):  # fmt: skip
            count = getattr(self, name)
            if not least <= count <= most:
                raise InputError(
                    f"{count} of {self.chips} chips are to be {name}; expected {least} to {most}."
                )
        if not 32 <= self.size_px <= self.scene_px:
            raise InputError(
                f"Chips of {self.size_px} px from places of {self.scene_px} px; expected 32 or more, and no "
                "more than the place has."
            )
        if not self.jitter >= 0:
            raise InputError(f"Chips are to be changed by {self.jitter} deviations; expected 0 or more.")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise InputError(f"A zoom of {self.zoom[0]} to {self.zoom[1]}; expected rising numbers above 0.")


@dataclass(frozen=True)
class Chips:
    """A batch of aligned chips.

    Attributes:
        rgb: float32 (batch, 3, size, size), standardised, 0 where not valid.
        sar: float32 (batch, 1, size, size), likewise; None in the optical stage.
        valid: bool (batch, 1, size, size).
        mask: bool (batch, size / 4, size / 4), True = hidden.
        whole: int64 (chips − masked,), the rows that nothing is hidden of.
        alone: the side that is shown once more without the other.
    """

    rgb: Tensor
    sar: Tensor | None
    valid: Tensor
    mask: Tensor
    whole: Tensor
    alone: Side

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.valid)


def draw_chips(
    config: LessonConfig,
    mars: MarsConfig,
    seed: int,
    step: int,
    sources: Sequence[ChipSource] = (),
    *,
    stream: Stream = "lessons",
) -> Chips:
    """Return a batch; the same seed, step and stream give the same, in any order.

    Args:
        config: how batches are made.
        mars: says how much of them is hidden.
        seed: the training's.
        step: which batch.
        sources: chips besides drawn places; without any all places are drawn. Unless ``optical`` they
            have both sides.
        stream: places of one stream stand in no other, whatever the seeds.

    Raises:
        InputError: a source lacks a side.
        DataError: a source cannot be read any more.
    """
    generator = np.random.default_rng([seed, step, 1, *_STREAM_KEYS[stream]])
    alone: Side = "sar" if generator.uniform() < 0.5 else "rgb"
    real = _read_real(config, sources, generator)
    drawn = _drawn(config, seed, step // config.reuse, stream)[: config.chips - len(real)]
    pieces = [_cut_one(config, torch.cat(layers), generator) for layers in (*real, *drawn)]
    rgb, sar, valid = torch.split(torch.stack(pieces), [3, 1, 1], dim=1)
    if config.jitter:
        rgb = _jitter(rgb, config.jitter, generator)
        sar = _jitter(_smooth(sar, generator), config.jitter, generator)
    inside = valid > 1 - 1e-3
    hiding = torch.Generator().manual_seed(int(generator.integers(1 << 62)))
    mask = draw_masks(mars, config.chips, (config.size_px, config.size_px), hiding)
    whole = torch.from_numpy(np.sort(generator.permutation(config.chips)[config.masked :]))
    mask[whole] = False
    shown = None if config.optical else torch.where(inside, sar, 0.0)
    return Chips(torch.where(inside, rgb, 0.0), shown, inside, mask, whole, alone)


def _read_real(
    config: LessonConfig, sources: Sequence[ChipSource], generator: np.random.Generator
) -> list[Layers]:
    """Draw chips from all sources, none twice in a batch while there are enough.

    A source is drawn from by the square root of what it holds: a few real chips are seen often enough to
    count, and not so often that they are learned by heart.
    """
    counts = np.array([source.count for source in sources], np.int64)
    if not len(counts):
        return []
    ends = np.cumsum(counts)
    odds = np.repeat(1 / np.sqrt(counts), counts)
    chosen = generator.choice(
        len(odds), config.real, replace=len(odds) < config.real, p=odds / odds.sum(), shuffle=True
    )
    read = []
    for place in chosen:
        row = int(np.searchsorted(ends, place, "right"))
        source = sources[row]
        wanted: tuple[Side, ...] = ("rgb",) if config.optical else ("rgb", "sar")
        rgb, sar, valid = source.read([int(place) - int(ends[row]) + source.count], wanted)
        if rgb is None or (sar is None and not config.optical):
            raise InputError(
                f"Chips of {source.name} show {' and '.join(source.modalities)} only; leave that source out."
            )
        side = torch.zeros_like(rgb[:, :1]) if sar is None else sar
        read.append((rgb[0], side[0], valid[0].float()))
    return read


@lru_cache(maxsize=2)
def _drawn(config: LessonConfig, seed: int, group: int, stream: Stream) -> tuple[Layers, ...]:
    generator = np.random.default_rng([seed, group, 0, *_STREAM_KEYS[stream]])
    rgb, sar = place_statistics().standardise(
        *draw_places(config.chips, size=config.scene_px, generator=generator)
    )
    assert rgb is not None
    assert sar is not None
    return tuple((*one, torch.ones_like(one[1])) for one in zip(rgb, sar, strict=True))


def _cut_one(config: LessonConfig, image: Tensor, generator: np.random.Generator) -> Tensor:
    height, width = image.shape[1:]
    widest = min(height, width) / config.size_px
    zoom = generator.uniform(min(config.zoom[0], widest), min(config.zoom[1], widest))
    side = min(round(config.size_px * zoom), height, width)
    top, left = generator.integers(height - side + 1), generator.integers(width - side + 1)
    piece = image[:, top : top + side, left : left + side]
    if side != config.size_px:
        shape = (config.size_px, config.size_px)
        piece = F.interpolate(piece[None], shape, mode="bilinear", antialias=True)[0]
    piece = torch.rot90(piece, int(generator.integers(4)), (1, 2))
    return piece.flip(2) if generator.uniform() < 0.5 else piece


def _jitter(images: Tensor, spread: float, generator: np.random.Generator) -> Tensor:
    """Change brightness and contrast of every image, and a little of each channel on its own.

    The same ground is darker or flatter in another scene, and standardised by that scene's numbers.
    """
    shape = (len(images), 1, 1, 1)
    own = (len(images), images.shape[1], 1, 1)

    def draw(size: tuple[int, ...], scale: float) -> Tensor:
        return torch.from_numpy(generator.normal(0, scale * spread, size).astype(np.float32))

    gain = torch.exp(draw(shape, 0.5) + draw(own, 0.2))
    return images * gain + draw(shape, 1.0) + draw(own, 0.3)


def _smooth(radar: Tensor, generator: np.random.Generator) -> Tensor:
    """Smooth half the radar images by 3 × 3 pixels, part of the way: others have more looks."""
    part = generator.uniform(0, 1, (len(radar), 1, 1, 1)) * (
        generator.uniform(size=(len(radar), 1, 1, 1)) < 0.5
    )
    wide = F.avg_pool2d(F.pad(radar, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    return torch.lerp(radar, wide, torch.from_numpy(part.astype(np.float32)))
