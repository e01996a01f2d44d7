"""Places that do not exist: ground cover, parcels and heights, drawn from random numbers without end.

A scene is what is *there*, not a picture of it; ``models.modality.renderings`` shows it as one sensor or
another would. So two pictures of a scene differ as real modalities do: in tones that have nothing to do with
each other, in lines only one of them has, in shadows and leaning walls.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from infra.errors import InputError
from models.modality.draws import Draws, Range
from models.modality.fields import blur_slightly, draw_field, look_up
from models.modality.lattice import CODES, Lattice, draw_course, draw_lattice


class Cover(IntEnum):
    """What the ground is covered by."""

    WATER = 0
    BARE = 1
    GRASS = 2
    CROP = 3
    FOREST = 4
    YARD = 5
    STREET = 6
    ROAD = 7
    RAIL = 8
    ROOF = 9


@dataclass(frozen=True)
class SceneStyle:
    """One kind of country; every number is drawn evenly from its range.

    The first four are thresholds on a smooth field of deviation 1: −2 covers nearly all, 3 nothing.

    Attributes:
        water: below minus this lies water.
        forest: above this stand trees.
        wild: above this are no parcels.
        town: above this are streets and buildings.
        parcel_px: breadth of fields.
        block_px: breadth of town blocks.
        river_px: half the breadth of a river; negative for none.
        road_px: half the breadth of the larger roads.
        street_px: half the breadth of streets and lanes.
        relief_px: height of the terrain from low to high, in pixels.
        storeys_px: height of buildings, in pixels.
    """

    water: Range = (1.2, 3.0)
    forest: Range = (0.3, 1.5)
    wild: Range = (0.3, 2.5)
    town: Range = (0.8, 2.0)
    parcel_px: Range = (25.0, 90.0)
    block_px: Range = (24.0, 60.0)
    river_px: Range = (-8.0, 12.0)
    road_px: Range = (1.2, 4.0)
    street_px: Range = (0.8, 2.5)
    relief_px: Range = (0.0, 40.0)
    storeys_px: Range = (1.0, 8.0)


STYLES: dict[str, SceneStyle] = {
    "farmland": SceneStyle(town=(1.0, 2.5)),
    "village": SceneStyle(town=(-0.2, 0.8), block_px=(28.0, 70.0), street_px=(1.2, 3.5)),
    "town": SceneStyle(
        town=(-2.5, -0.6), forest=(1.0, 2.5), block_px=(20.0, 60.0), street_px=(1.5, 4.0),
        storeys_px=(2.0, 12.0),
    ),
    "close town": SceneStyle(  # as at 0.3 m: few, large buildings
        town=(-3.0, -1.2), forest=(1.0, 2.5), block_px=(70.0, 150.0), street_px=(5.0, 11.0),
        road_px=(6.0, 14.0), storeys_px=(6.0, 25.0), parcel_px=(90.0, 200.0),
    ),
    "wide country": SceneStyle(  # as at 10 to 30 m
        parcel_px=(8.0, 26.0), block_px=(8.0, 16.0), road_px=(0.5, 1.2), street_px=(0.4, 0.9),
        river_px=(-3.0, 7.0), storeys_px=(0.3, 1.5), relief_px=(0.0, 25.0),
    ),
    "forest": SceneStyle(wild=(-0.5, 1.0), forest=(-1.2, 0.2), town=(1.8, 3.0), relief_px=(5.0, 80.0)),
    "mountains": SceneStyle(
        wild=(-2.5, -0.5), forest=(0.0, 2.0), town=(2.5, 3.5),
        parcel_px=(60.0, 200.0), relief_px=(80.0, 220.0), water=(1.5, 3.0),
    ),
    "coast": SceneStyle(water=(-0.4, 0.8), town=(0.2, 1.5)),
    "desert": SceneStyle(
        wild=(-2.5, 0.0), forest=(2.0, 3.5), town=(1.0, 2.5), parcel_px=(60.0, 250.0), relief_px=(20.0, 120.0)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scenes:
    """A batch of places; all layers (batch, 1, height, width).

    Attributes:
        cover: uint8, a ``Cover``.
        parcel: int64, the parcel's or building's number, below ``lattice.CODES``.
        terrain_px: float32, height of the bare ground, pixels.
        object_px: float32, height above the ground of buildings and trees, pixels.
        ridge: float32, −1 to 1, which side of a roof; 0 off buildings.
        furrow: float32, 0 to 1 across a parcel.
        soil: float32, how the ground changes from place to place, of deviation about 1, whatever is on it.
        grain: float32, fine structure of deviation about 1 that belongs to the ground.
    """

    cover: Tensor
    parcel: Tensor
    terrain_px: Tensor
    object_px: Tensor
    ridge: Tensor
    furrow: Tensor
    soil: Tensor
    grain: Tensor

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.cover)

    def of(self, rows: list[int]) -> Scenes:
        """Return some of the places."""
        if rows == list(range(len(self))):
            return self
        return Scenes(*(getattr(self, layer.name)[rows] for layer in fields(self)))


def draw_scenes(
    count: int, *, size: int, generator: np.random.Generator, device: torch.device | str = "cpu"
) -> Scenes:
    """Draw places of random styles; each belongs to one draw of the generator, whatever the count.

    Args:
        count: how many, at least 1.
        size: pixels of the side, at least 32; the styles are made for 384 to 1,024.
        generator: where all randomness comes from.
        device: where the layers are made; another device draws other places.

    Raises:
        InputError: ``count`` or ``size`` is too small.
    """
    if count < 1 or size < 32:
        raise InputError(
            f"{count} scenes of {size} pixels are asked for; expected at least 1 of at least 32."
        )
    draws = Draws.start(generator, count, torch.device(device))
    styles = [STYLES[name] for name in draws.pick(dict.fromkeys(STYLES, 1.0))]
    return _lay_out(draws, styles, (size, size))


def _lay_out(draws: Draws, styles: list[SceneStyle], shape: tuple[int, int]) -> Scenes:
    names = [layer.name for layer in fields(SceneStyle)]
    strength = {name: _between(draws, [getattr(style, name) for style in styles]) for name in names}
    terrain = draw_field(draws, shape, 3, octaves=5)
    town = draw_field(draws, shape, 3, octaves=2) > strength["town"]
    breadth = torch.where(town, strength["block_px"], strength["parcel_px"])
    lattice = draw_lattice(draws, shape, breadth, breadth * draws.uniform((0.8, 2.5)))
    plots = _plots(draws, lattice, strength["street_px"])
    grain = _grain(draws, shape)
    soil = draw_field(draws, shape, 5, octaves=5)
    cover, parcel = _open_country(draws, lattice, soil, strength)
    wood = draw_field(draws, shape, 4, octaves=4) > strength["forest"]
    cover = torch.where(wood, Cover.FOREST, cover)
    cover = torch.where(town, plots.cover, cover)
    cover = _trees(draws, cover, lattice)
    cover = _traffic_and_water(draws, cover, terrain, strength)
    roof, trees = cover == Cover.ROOF, cover == Cover.FOREST
    storeys = 0.4 + 1.2 * look_up(plots.number, draws.table((0.0, 1.0), CODES))
    height = strength["storeys_px"] * (storeys * roof + 0.5 * (1 + 0.15 * grain) * trees)
    return Scenes(
        cover=cover,
        parcel=torch.where(roof, plots.number, torch.where(town, lattice.cell, parcel)),
        terrain_px=terrain * strength["relief_px"] / 4,
        object_px=height,
        ridge=plots.ridge * roof,
        furrow=lattice.across,
        soil=soil,
        grain=grain,
    )


@dataclass(frozen=True)
class _Plots:
    """Town blocks cut into plots with a building each; as the layers of ``Scenes``."""

    cover: Tensor
    number: Tensor
    ridge: Tensor


def _plots(draws: Draws, lattice: Lattice, street_px: Tensor) -> _Plots:
    """Cut cells into two rows of plots, a building on most, streets along all sides."""
    slot = lattice.along * draws.uniform((1.0, 5.99)).floor()
    row = (lattice.across > 0.5).long()
    plot = slot.floor()
    number = (lattice.cell * 7 + plot.long() * 3 + row * 1031) & (CODES - 1)
    built, sides, ends = (look_up(number, draws.table((0.0, 1.0), CODES)) for _ in range(3))
    inner, along = (lattice.across * 2).frac() - 0.5, slot - plot - 0.5
    body = (inner.abs() < 0.18 + 0.25 * sides) & (along.abs() < 0.2 + 0.25 * ends)
    notch = (inner * along > 0.02) & (built < 0.25)  # L-shaped ones
    clear = (lattice.to_side_px > street_px + 1) & (lattice.to_end_px > street_px + 1)
    roof = body & ~notch & clear & (built < draws.uniform((0.5, 0.98)))
    street = (lattice.to_side_px < street_px) | (lattice.to_end_px < street_px)
    green = torch.where(built > 0.7, Cover.GRASS, Cover.YARD).byte()
    cover = torch.where(roof, Cover.ROOF, torch.where(street, Cover.STREET, green))
    return _Plots(cover, number, torch.where(sides > ends, along, inner).sign())


def _open_country(
    draws: Draws, lattice: Lattice, soil: Tensor, strength: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Give every parcel a use, with lanes along some; where nobody farms the ground changes by itself."""
    shape = (lattice.cell.shape[-2], lattice.cell.shape[-1])
    table = draws.table((0.0, 1.0), CODES)
    uses = torch.full_like(table, Cover.CROP)
    uses = torch.where(table < draws.table((0.4, 0.7), 1), Cover.GRASS, uses)
    uses = torch.where(table < draws.table((0.1, 0.4), 1), Cover.BARE, uses)
    use = look_up(lattice.cell, uses).byte()
    lane = (lattice.to_side_px < 0.6 * strength["street_px"]) & ((lattice.cell & 3) > 0)
    farmed = torch.where(lane, Cover.STREET, use)
    stream = draw_field(draws, shape, 4, octaves=4).abs() < draws.uniform((0.0, 0.04))
    ground = torch.where(stream, 5.0, soil * draws.uniform((0.5, 2.5)))
    natural = torch.where(ground > draws.uniform((-1.0, 1.0)), Cover.BARE, Cover.GRASS).byte()
    wild = draw_field(draws, shape, 3, octaves=3) > strength["wild"]
    kind = (ground.floor().long() + CODES // 2) & (CODES - 1)
    return torch.where(wild, natural, farmed), torch.where(wild, kind, lattice.cell)


def _trees(draws: Draws, cover: Tensor, lattice: Lattice) -> Tensor:
    """Stand single trees in gardens and meadows, and hedges along some parcels."""
    shape = (cover.shape[-2], cover.shape[-1])
    crown = draw_field(draws, shape, max(shape) // 7) > draws.uniform((1.2, 2.6))
    open_ground = (cover == Cover.GRASS) | (cover == Cover.YARD)
    hedge = (lattice.to_end_px < 1.2) & ((lattice.cell & 3) == 1) & (cover != Cover.STREET)
    return torch.where((crown & open_ground) | hedge, Cover.FOREST, cover)


def _traffic_and_water(draws: Draws, cover: Tensor, terrain: Tensor, strength: dict[str, Tensor]) -> Tensor:
    """Put lakes and rivers over the land, roads and railways over both."""
    shape = (cover.shape[-2], cover.shape[-1])
    river = draw_course(draws, shape, (0.05, 0.3)).abs() < strength["river_px"]
    cover = torch.where(river | (terrain < -strength["water"]), Cover.WATER, cover)
    for kind, scale, share in ((Cover.ROAD, 1.0, 0.8), (Cover.ROAD, 0.6, 0.5), (Cover.RAIL, 0.6, 0.3)):
        there = draws.chance(share) > 0
        line = draw_course(draws, shape, (0.0, 0.1)).abs() < scale * strength["road_px"]
        cover = torch.where(line & there & ((cover != Cover.WATER) | river), kind, cover)
    return cover


def _grain(draws: Draws, shape: tuple[int, int]) -> Tensor:
    """Return structure of a few pixels, its coarseness drawn per scene, deviation about 1."""
    white = draws.normal(1, *shape)
    fine = blur_slightly(white)
    coarse = blur_slightly(blur_slightly(fine))
    return torch.lerp(2.6 * fine, 4.6 * coarse, draws.uniform((0.0, 1.0)))


def _between(draws: Draws, spans: list[Range]) -> Tensor:
    """Return one even draw per sample from ranges of their own, (samples, 1, 1, 1)."""
    low, high = torch.tensor(spans, device=draws.device).T[..., None, None, None]
    value: Tensor = low + (high - low) * draws.uniform((0.0, 1.0))
    return value
