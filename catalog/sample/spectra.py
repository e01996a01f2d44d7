"""Give every feature its colours on a date: what lies on the ground, what grows on it, how much of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from catalog.sample.cover import Cover
from catalog.sample.crops import dry_grass, grow_crops, open_leaves
from catalog.sample.frame import FloatArray
from catalog.sample.town import Town

BANDS = ("blue", "green", "red", "nir", "swir16")

Table = npt.NDArray[np.float64]

SOIL = np.array([0.070, 0.097, 0.132, 0.215, 0.290])
STRAW = np.array([0.085, 0.128, 0.178, 0.300, 0.330])
CROP = np.array([0.028, 0.062, 0.034, 0.440, 0.190])
FLOWER = np.array([0.045, 0.150, 0.130, 0.470, 0.230])
GRASS = np.array([0.032, 0.072, 0.046, 0.360, 0.215])
HAY = np.array([0.062, 0.098, 0.108, 0.270, 0.290])
BROAD = np.array([0.017, 0.037, 0.020, 0.330, 0.140])
BROAD_SPRING = np.array([0.024, 0.058, 0.034, 0.340, 0.160])
BROAD_AUTUMN = np.array([0.028, 0.052, 0.066, 0.240, 0.165])
NEEDLE = np.array([0.014, 0.025, 0.016, 0.200, 0.085])
LITTER = np.array([0.038, 0.052, 0.062, 0.150, 0.190])

_GROUND = {
    Cover.BEACH: (0.140, 0.185, 0.225, 0.285, 0.340),
    Cover.BARE: (0.120, 0.150, 0.180, 0.240, 0.300),
    Cover.SCRUB: (0.050, 0.072, 0.085, 0.170, 0.210),
    Cover.PARK: (0.060, 0.085, 0.090, 0.180, 0.220),
    Cover.GARDEN: (0.078, 0.096, 0.108, 0.170, 0.190),
    Cover.CENTRE: (0.092, 0.108, 0.118, 0.155, 0.170),
    Cover.INDUSTRIAL: (0.115, 0.132, 0.145, 0.185, 0.205),
    Cover.QUAY: (0.125, 0.142, 0.155, 0.190, 0.205),
    Cover.TRACK: (0.105, 0.130, 0.155, 0.225, 0.280),
    Cover.ROAD: (0.085, 0.099, 0.109, 0.140, 0.155),
    Cover.RAIL: (0.078, 0.088, 0.100, 0.130, 0.165),
    Cover.TANK: (0.330, 0.350, 0.360, 0.370, 0.330),
    Cover.MOLE: (0.110, 0.122, 0.130, 0.160, 0.170),
    Cover.SOLAR: (0.060, 0.062, 0.066, 0.130, 0.120),
}
_ROOFS = np.array(
    [
        (0.052, 0.058, 0.064, 0.090, 0.100),  # bitumen, slate
        (0.070, 0.092, 0.150, 0.205, 0.240),  # clay tiles
        (0.120, 0.130, 0.138, 0.165, 0.180),  # concrete, gravel
        (0.270, 0.288, 0.300, 0.315, 0.290),  # white sheeting
        (0.165, 0.178, 0.188, 0.210, 0.200),  # metal
        (0.190, 0.130, 0.090, 0.150, 0.140),  # blue paint
        (0.085, 0.095, 0.180, 0.220, 0.200),  # rust-red paint
    ]
)
# share of canopy in summer, and how uneven it is from sub-pixel to sub-pixel
_GREEN = {
    Cover.PARK: (0.82, 0.12),
    Cover.GARDEN: (0.44, 0.24),
    Cover.CENTRE: (0.10, 0.12),
    Cover.INDUSTRIAL: (0.12, 0.12),
    Cover.SCRUB: (0.55, 0.18),
    Cover.ORCHARD: (0.62, 0.16),
    Cover.RAIL: (0.10, 0.10),
    Cover.TRACK: (0.30, 0.12),
    Cover.ROAD: (0.08, 0.08),
    Cover.SOLAR: (0.18, 0.05),
    Cover.BEACH: (0.02, 0.02),
}
_ROUGH = {
    Cover.WOOD_BROAD: 0.17,
    Cover.WOOD_NEEDLE: 0.15,
    Cover.GARDEN: 0.24,
    Cover.CENTRE: 0.24,
    Cover.INDUSTRIAL: 0.22,
    Cover.QUAY: 0.12,
    Cover.BUILDING: 0.10,
    Cover.FIELD: 0.025,
    Cover.MEADOW: 0.04,
    Cover.BEACH: 0.06,
    Cover.SCRUB: 0.12,
    Cover.ORCHARD: 0.1,
    Cover.PARK: 0.1,
    Cover.RAIL: 0.08,
}


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Hold per feature what a date looks like."""

    ground: FloatArray
    """``(feature, band)`` reflectance of the ground, in [0, 1]."""
    canopy: FloatArray
    """``(feature, band)`` reflectance of what grows there."""
    green: FloatArray
    """``(feature,)`` share of canopy, in [0, 1]."""
    uneven: FloatArray
    """``(feature,)`` standard deviation of that share within the feature."""
    rough: FloatArray
    """``(feature,)`` standard deviation of brightness within the feature, relative."""
    rows: FloatArray
    """``(feature,)`` strength of rows."""


def mix_palette(town: Town, day_of_year: int) -> Palette:
    """Mix the colours of a town on a day; a feature keeps its own character from date to date."""
    rng = np.random.default_rng([town.seed, 30])
    cover = np.array([int(f.cover) for f in town.features])
    style = np.array([f.style for f in town.features])
    count = len(cover)
    ground, canopy = np.tile(SOIL, (count, 1)), np.tile(GRASS, (count, 1))
    green, uneven, rough = np.zeros(count), np.zeros(count), np.full(count, 0.05)
    for kind, spectrum in _GROUND.items():
        ground[cover == kind] = spectrum
    for kind, (share, spread) in _GREEN.items():
        green[cover == kind], uneven[cover == kind] = share, spread
    for kind, value in _ROUGH.items():
        rough[cover == kind] = value
    roof = cover == Cover.BUILDING
    ground[roof] = _ROOFS[style[roof]]
    vigour, lead = rng.normal(0, 1, count), rng.normal(0, 8, count)
    _colour_fields(cover, style, lead, day_of_year, (ground, canopy, green, uneven))
    _colour_plants(cover, style, vigour, day_of_year, (ground, canopy, green, uneven))
    ground *= np.exp(rng.normal(0, 1, (count, 1)) * np.where(roof, 0.22, 0.13)[:, None])
    paved = np.isin(cover, [Cover.QUAY, Cover.ROAD, Cover.INDUSTRIAL, Cover.RAIL])
    ground *= np.exp(rng.normal(0, 1, (count, 5)) * np.where(paved, 0.012, 0.03)[:, None])
    canopy *= np.exp(rng.normal(0, 0.09, (count, 1)) + rng.normal(0, 0.03, (count, 5)))
    rows = np.select(
        [cover == Cover.FIELD, cover == Cover.ORCHARD, cover == Cover.SOLAR], [0.055, 0.12, 0.12], 0.01
    )
    columns = (ground, canopy, np.clip(green, 0, 1), uneven, rough, rows)
    return Palette(
        **dict(
            zip(
                ("ground", "canopy", "green", "uneven", "rough", "rows"),
                (c.astype(np.float32) for c in columns),
                strict=True,
            )
        )
    )


def _colour_fields(
    cover: Table, style: Table, lead: Table, day: int, out: tuple[Table, Table, Table, Table]
) -> None:
    ground, canopy, green, uneven = out
    field = cover == Cover.FIELD
    leaf, dry, bloom = grow_crops(style[field], lead[field], day)
    ground[field] = SOIL * (1 - dry[:, None]) + STRAW * dry[:, None]
    canopy[field] = CROP * (1 - bloom[:, None]) + FLOWER * bloom[:, None]
    # cereals are bluish dark, beet and maize bright green
    tint = np.array([1.0, 1.05, 1.05, 1.08, 1.2, 1.0, 1.05, 0.95])[style[field]]
    canopy[field, 1] *= tint
    canopy[field, 3] *= tint
    green[field], uneven[field] = leaf, 0.10


def _colour_plants(
    cover: Table, style: Table, vigour: Table, day: int, out: tuple[Table, Table, Table, Table]
) -> None:
    ground, canopy, green, uneven = out
    out_share, turned = open_leaves(day)
    broad, needle = cover == Cover.WOOD_BROAD, cover == Cover.WOOD_NEEDLE
    young = float(np.clip((160 - day) / 50, 0, 1))
    leaves = BROAD * (1 - young) + BROAD_SPRING * young
    own_turn = np.clip(turned * np.exp(0.5 * vigour), 0, 1)[:, None]
    canopy[broad] = (leaves * (1 - own_turn) + BROAD_AUTUMN * own_turn)[broad]
    ground[broad | needle] = LITTER
    green[broad], uneven[broad] = 0.96 * out_share + 0.05, 0.06
    canopy[needle], green[needle], uneven[needle] = NEEDLE, 0.95, 0.05
    meadow = cover == Cover.MEADOW
    dry = np.clip(dry_grass(day) + 0.12 * vigour, 0, 0.9)[:, None]
    canopy[meadow] = (GRASS * (1 - dry) + HAY * dry)[meadow]
    # some meadows were mown lately
    mown = meadow & (np.modf(np.abs(vigour) * 7.0 + day / 45.0)[0] < 0.3)
    green[meadow], uneven[meadow] = 0.9, 0.09
    green[mown] = 0.62
    ground[meadow] = HAY
    season = 0.55 + 0.45 * out_share
    for kind in (Cover.GARDEN, Cover.PARK, Cover.ORCHARD, Cover.SCRUB):
        green[cover == kind] *= season
    canopy[np.isin(cover, [Cover.GARDEN, Cover.ORCHARD])] = 0.5 * (GRASS + leaves)
    estate = (cover == Cover.GARDEN) & (style == 2)
    green[estate] = 0.3
