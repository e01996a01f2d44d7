"""What sensors and draughtsmen make of a scene, from what is there and not from another picture.

Every rendering is a frozen dataclass of ranges; calling it shows scenes as grey images (batch, 1, height,
width), 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from infra.errors import InputError
from models.modality.draws import Draws, Range
from models.modality.fields import (
    blur_slightly,
    draw_field,
    look_up,
    neighbours_max,
    normal_threshold,
    slopes,
    smooth,
    standardise,
    to_unit,
)
from models.modality.lattice import CODES
from models.modality.scenes import Cover, Scenes, draw_scenes
from models.modality.sensors import draw_log_speckle

Rendering: TypeAlias = Callable[[Scenes, Draws], Tensor]
"""From scenes to grey images (batch, 1, height, width), 0 to 1."""

_FULL_TURN = 2 * torch.pi
_REACHES = (1, 2, 4, 7, 11, 16)

# Grey value and strength of texture of each cover by day, in the order of Cover.
_DAYLIGHT = (
    (0.15, 0.01), (0.48, 0.05), (0.38, 0.04), (0.42, 0.03), (0.23, 0.05),
    (0.45, 0.05), (0.44, 0.02), (0.38, 0.02), (0.30, 0.06), (0.45, 0.03),
)  # fmt: skip
# How likely a lamp stands on each cover.
_LAMPS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 1.0, 1.0, 0.0, 0.1)
# Mean logarithm of backscatter of each cover.
_BACKSCATTER = (-2.2, -0.9, -0.4, 0.0, 0.5, 0.2, -1.4, -1.6, 0.3, 1.2)


def _shape(scenes: Scenes) -> tuple[int, int]:
    return scenes.cover.shape[-2], scenes.cover.shape[-1]


def _tones(scenes: Scenes, draws: Draws) -> Tensor:
    """Return an even number of deviation 1 per parcel or building."""
    return look_up(scenes.parcel, draws.table((-1.7, 1.7), CODES))


def _reach(height: Tensor, direction: Tensor, drop: Tensor) -> Tensor:
    """Return how deep each pixel lies below the rays over higher ground beside it, 0 and up, pixels.

    Args:
        height: (batch, 1, height, width), pixels.
        direction: (batch, 1, 1, 1), radians; where the higher ground is looked for.
        drop: (batch, 1, 1, 1), how far a ray sinks per pixel.
    """
    along_x = (direction.cos().flatten(), direction.sin().flatten())
    deepest = torch.zeros_like(height)
    for reach in _REACHES:
        steps = [(-round(float(y) * reach), -round(float(x) * reach)) for x, y in zip(*along_x, strict=True)]
        beside = torch.stack([h.roll(step, (-2, -1)) for h, step in zip(height, steps, strict=True)])
        deepest = torch.maximum(deepest, beside - height - reach * drop)
    return deepest


def _lit(height: Tensor, direction: Tensor) -> Tensor:
    """Return how much slopes face a light, about −1 to 1."""
    along_x, along_y = slopes(height)
    facing = along_x * direction.cos() + along_y * direction.sin()
    return -facing / (1 + facing.abs())


@dataclass(frozen=True)
class Daylight:
    """Panchromatic imagery in some season: sunlight, shadows, texture, furrows.

    Attributes:
        tone: how far each cover's grey value is drawn from its usual one.
        parcel: how far parcels of one cover differ.
        soil: how much the ground's own change shows; below 0 the other way round.
        texture: how strong fine structure shows, against the usual.
        shadow: how dark shadows are.
        snow: how often snow lies.
    """

    tone: float = 0.12
    parcel: Range = (0.02, 0.12)
    soil: Range = (-0.06, 0.06)
    texture: Range = (0.3, 1.2)
    shadow: Range = (0.3, 0.75)
    snow: float = 0.08

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as grey images."""
        usual = torch.tensor(_DAYLIGHT, device=draws.device).T
        ground = look_up(scenes.cover, usual[0] + self.tone * draws.table((-1.7, 1.7), len(Cover)))
        rough = look_up(scenes.cover, usual[1].expand(len(draws), -1))
        ground = ground + draws.uniform(self.parcel) * _tones(scenes, draws)
        ground = ground + draws.uniform(self.soil) * scenes.soil
        ground = ground + rough * draws.uniform(self.texture) * scenes.grain + self._furrows(scenes, draws)
        snow = draws.chance(self.snow) * ((scenes.cover != Cover.WATER) & (scenes.cover != Cover.ROAD))
        covered = torch.lerp(ground, torch.full_like(ground, 0.85), 0.8 * snow)
        return (covered * self._sun(scenes, draws)).clamp(0, 1)

    def _furrows(self, scenes: Scenes, draws: Draws) -> Tensor:
        waves = torch.sin(scenes.furrow * draws.uniform((20.0, 120.0)))
        return waves * (scenes.cover == Cover.CROP) * draws.uniform((0.0, 0.05))

    def _sun(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the light on every pixel: shaded slopes and roofs, and cast shadows."""
        sun, low = draws.uniform((0.0, _FULL_TURN)), draws.uniform((0.5, 1.8))
        slope = _lit(scenes.terrain_px, sun) + 0.15 * scenes.ridge * sun.cos()
        shade = _reach(scenes.object_px, sun, low).clamp(0, 1)
        return (1 + 0.7 * slope) * (1 - draws.uniform(self.shadow) * shade)


@dataclass(frozen=True)
class DrawnMap:
    """A drawn map: flat tones, roads wider than they are, no texture, no shadow; some things left out.

    Attributes:
        buildings: how often buildings are drawn.
        parcels: how often parcel borders are drawn.
        widened: how often roads are widened by two pixels.
        lettering: how many strokes of letters in a thousand pixels.
    """

    buildings: float = 0.6
    parcels: float = 0.15
    widened: float = 0.5
    lettering: Range = (0.0, 0.3)

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as drawn."""
        tones = draws.table((0.65, 1.0), len(Cover))
        ground = draws.table((0.75, 1.0), 1)
        roof = draws.table((0.4, 0.9), 1)
        keep = draws.chance(self.buildings)[..., 0, 0]
        quiet = (Cover.BARE, Cover.CROP, Cover.YARD, Cover.STREET, Cover.ROAD, Cover.RAIL)
        for cover in quiet:
            tones[:, cover : cover + 1] = ground
        tones[:, Cover.ROOF :] = torch.lerp(ground, roof, keep)
        page = look_up(scenes.cover, tones)
        parted = (scenes.parcel != scenes.parcel.roll(1, -1)) | (scenes.parcel != scenes.parcel.roll(1, -2))
        page = torch.lerp(page, page * 0.75, parted * draws.chance(self.parcels))
        return self._letters(self._lines(page, scenes, draws), draws)

    def _lines(self, page: Tensor, scenes: Scenes, draws: Draws) -> Tensor:
        """Draw streets, roads and railways with or without casings; an area of streets is left out."""
        known = (draw_field(draws, _shape(scenes), 3) < draws.uniform((0.5, 3.0))).float()
        wide = draws.chance(self.widened)
        kinds = (
            (Cover.STREET, known, (0.8, 1.0)),
            (Cover.ROAD, 1.0, (0.5, 1.0)),
            (Cover.RAIL, 1.0, (0.1, 0.6)),
        )
        for cover, share, tones in kinds:
            line = (scenes.cover == cover).float() * share
            line = torch.lerp(line, neighbours_max(line), wide)
            casing = neighbours_max(line) * draws.chance(0.6)
            page = torch.lerp(page, draws.uniform((0.3, 0.8)).expand_as(page), casing)
            page = torch.lerp(page, draws.uniform(tones).expand_as(page), line)
        return page

    def _letters(self, page: Tensor, draws: Draws) -> Tensor:
        """Strew scribbles the size of names."""
        ink = draws.normal(1, *page.shape[-2:])
        start = (ink > normal_threshold(draws.uniform(self.lettering) / 1000)).float()
        for step in (1, 2, 4, 8):
            start = torch.maximum(start, start.roll(step, -1))
        start = neighbours_max(neighbours_max(start))
        strokes = start * (ink + ink.roll(1, -2) + ink.roll(2, -2) > 1.0)
        return torch.lerp(page, draws.uniform((0.0, 0.4)).expand_as(page), strokes)


@dataclass(frozen=True)
class Radar:
    """Radar: backscatter by cover and parcel, walls that lean towards the beam, radar shadow, speckle.

    Attributes:
        cover: how far each cover's backscatter is drawn from its usual one.
        parcel: how far parcels of one cover differ.
        soil: how much the ground's own change shows; below 0 the other way round.
        looks: how many looks were averaged.
        corner: how bright walls shine that face the beam.
    """

    cover: float = 0.4
    parcel: Range = (0.05, 0.5)
    soil: Range = (-0.3, 0.3)
    looks: Range = (1.0, 14.0)
    corner: Range = (0.5, 2.5)

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as grey images."""
        usual = torch.tensor(_BACKSCATTER, device=draws.device)
        table = usual + self.cover * draws.table((-1.7, 1.7), len(Cover))
        level = draws.uniform((0.4, 1.0)) * look_up(scenes.cover, table)
        land = (scenes.cover != Cover.WATER).float()
        level = level + land * (draws.uniform(self.parcel) * _tones(scenes, draws) + 0.15 * scenes.grain)
        level = level + land * draws.uniform(self.soil) * scenes.soil
        beam = draws.uniform((0.0, _FULL_TURN))
        level = level + draws.uniform((0.3, 1.5)) * _lit(scenes.terrain_px, beam)
        leaning = _reach(scenes.object_px, beam + torch.pi, draws.uniform((0.6, 1.5)))
        hidden = _reach(scenes.object_px, beam, draws.uniform((0.6, 1.5)))
        level = torch.lerp(level, torch.full_like(level, -2.0), 0.8 * hidden.clamp(0, 1))
        level = level + draws.uniform(self.corner) * leaning.clamp(0, 2) / 2
        speckle = draw_log_speckle(draws, _shape(scenes), draws.uniform(self.looks))
        speckle = torch.lerp(speckle, 1.6 * blur_slightly(speckle), draws.chance(0.5))
        received = level + speckle
        return to_unit(torch.where(draws.chance(0.7) > 0, received, (0.5 * received).exp()))


@dataclass(frozen=True)
class Thermal:
    """Infrared: a warmth of its own for every cover and building, little texture, some blur.

    Attributes:
        parcel: how far parcels and buildings of one cover differ.
        soil: how much the ground's own change shows; below 0 the other way round.
        texture: how strong fine structure shows.
    """

    parcel: Range = (0.03, 0.15)
    soil: Range = (-0.08, 0.08)
    texture: Range = (0.0, 0.04)

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as grey images."""
        warmth = look_up(scenes.cover, draws.table((0.1, 0.9), len(Cover)))
        warmth = warmth + draws.uniform(self.parcel) * _tones(scenes, draws)
        warmth = warmth + draws.uniform(self.texture) * scenes.grain
        sun = draws.uniform((0.0, _FULL_TURN))
        warmth = warmth + draws.uniform((0.0, 0.3)) * _lit(scenes.terrain_px, sun)
        cool = _reach(scenes.object_px, sun, draws.uniform((0.5, 1.8))).clamp(0, 1)
        warmth = (
            warmth
            - draws.uniform((0.0, 0.25)) * cool
            + 0.05 * draw_field(draws, _shape(scenes), 5, octaves=2)
        )
        return torch.lerp(blur_slightly(warmth), smooth(warmth, 2), draws.uniform((0.0, 1.0))).clamp(0, 1)


@dataclass(frozen=True)
class Heights:
    """A height model: terrain, buildings and trees as grey levels or as light and shade.

    Attributes:
        objects: how much buildings and trees stand out against the terrain.
        shaded: how often it is shown as light and shade.
    """

    objects: Range = (0.5, 2.0)
    shaded: float = 0.35

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as grey images."""
        height = standardise(scenes.terrain_px) * draws.uniform((0.2, 1.0))
        height = height + draws.uniform(self.objects) * standardise(blur_slightly(scenes.object_px)).clamp(
            max=3
        )
        height = height + draws.uniform((0.0, 0.03)) * scenes.grain
        steep = draws.uniform((3.0, 12.0)) * height
        shaded = standardise(_lit(steep, draws.uniform((0.0, _FULL_TURN))))
        shown = torch.where(draws.chance(self.shaded) > 0, shaded, standardise(height))
        return to_unit(torch.where(draws.chance(0.3) > 0, -shown, shown))


@dataclass(frozen=True)
class NightLights:
    """Night: faint ground, lamps along streets and roads with a glow, grain.

    Attributes:
        ground: how bright the ground still is.
        lamps: how many of a hundred pixels of street shine.
        grain: deviation of the noise.
    """

    ground: Range = (0.15, 0.6)
    lamps: Range = (0.5, 4.0)
    grain: Range = (0.01, 0.06)

    def __call__(self, scenes: Scenes, draws: Draws) -> Tensor:
        """Return the scenes as grey images."""
        day = Daylight()(scenes, draws)
        lined = torch.tensor(_LAMPS, device=draws.device).expand(len(draws), -1)
        town = torch.sigmoid(1 + 2 * draw_field(draws, _shape(scenes), 3))
        likely = draws.uniform(self.lamps) / 100 * look_up(scenes.cover, lined) * town
        lamps = (draws.even(1, *_shape(scenes)) < likely).float()
        glow = neighbours_max(lamps) + 5 * smooth(lamps, 3) + 8 * smooth(lamps, 9)
        noise = draws.uniform(self.grain) * draws.normal(1, *_shape(scenes))
        return (draws.uniform(self.ground) * day + glow + noise).clamp(0, 1)


RENDERINGS: dict[str, Rendering] = {
    "daylight": Daylight(),
    "map": DrawnMap(),
    "radar": Radar(),
    "thermal": Thermal(),
    "heights": Heights(),
    "night": NightLights(),
}
"""What a scene can be shown as."""

_FIRST_WEIGHTS = {"daylight": 8.0, "map": 1.0, "thermal": 1.0}
_SECOND_WEIGHTS = {"daylight": 2.0, "map": 2.5, "radar": 2.5, "thermal": 2.0, "heights": 1.5, "night": 1.0}


def render_scenes(scenes: Scenes, names: Sequence[str], draws: Draws) -> Tensor:
    """Show every scene in a rendering of its own.

    Args:
        scenes: a batch.
        names: one rendering per scene.
        draws: as many streams.

    Returns:
        float32 (batch, 1, height, width), 0 to 1.

    Raises:
        InputError: a rendering is not known.
    """
    unknown = set(names) - RENDERINGS.keys()
    if unknown:
        raise InputError(f"A rendering is called {min(unknown)!r}; expected one of {', '.join(RENDERINGS)}.")
    shown = torch.empty(len(scenes), 1, *_shape(scenes), device=scenes.cover.device)
    for name in sorted(set(names)):
        rows = [i for i, chosen in enumerate(names) if chosen == name]
        for row, picture in zip(rows, RENDERINGS[name](scenes.of(rows), draws.of(rows)), strict=True):
            shown[row] = picture
    return shown


def draw_scene_pairs(
    count: int, *, size: int, generator: np.random.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Draw places and show each twice: in daylight, and as something else or as another day.

    Both are float32 (count, 1, size, size), 0 to 1, on one grid: what ``make_pairs`` takes as fixed and
    moving.

    Args:
        count: how many places, at least 1.
        size: pixels of the side.
        generator: where all randomness comes from.
        device: where they are made.

    Raises:
        InputError: ``count`` or ``size`` is too small.
    """
    # On a CPU one place at a time stays in the cache; the numbers are the same either way.
    step = count if torch.device(device).type != "cpu" else 1
    firsts, seconds = [], []
    for start in range(0, count, step):
        scenes = draw_scenes(min(step, count - start), size=size, generator=generator, device=device)
        draws = Draws.start(generator, len(scenes), torch.device(device))
        firsts.append(render_scenes(scenes, draws.pick(_FIRST_WEIGHTS), draws))
        seconds.append(render_scenes(scenes, draws.pick(_SECOND_WEIGHTS), draws))
    return torch.cat(firsts), torch.cat(seconds)
