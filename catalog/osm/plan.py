"""Plan the one product of an area of OpenStreetMap: its identity, its grid, its receipt."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from catalog.grid import BoundsLonLat, plan_grid
from catalog.osm.records import ExtractFacts
from catalog.product_ids import spell_id, spell_stem
from catalog.records import BandStatistics, Grid, StoredFile
from infra.digests import canonical_json, sha256_of_json
from infra.errors import InputError

ALGORITHM = "osm"
ALGORITHM_VERSION = "1"
"""Raised whenever the same extract would give other features, pictures or another layout."""
PRODUCTS_FOLDER = "osm"
_MAX_PICTURE_PX = 4096
_MAX_PIXELS = 1 << 27  # the map is drawn in memory, 4 bytes a pixel, and encoded there
_STEPS_M = tuple(step * 10.0**power for power in range(-1, 5) for step in (1, 2, 5))

NetworkKind = Literal["drive", "walk", "bike", "all"]
NetworkForm = Literal["graphml", "gpkg"]


@dataclass(frozen=True, kw_only=True)
class OsmOptions:
    """Hold the choices of a product; those that change its bytes are part of its identity."""

    graph: bool = True
    """Also keep the heterogeneous graph of the features."""
    network: NetworkKind | None = None
    """Also keep this street network."""
    network_form: NetworkForm = "graphml"
    max_features: int = 2_000_000
    """Refuse an area that holds more."""


@dataclass(frozen=True, kw_only=True)
class OsmPlan:
    """Hold one product to be: an area of one extract, with its identity."""

    id: str
    """Readable prefix + short hash of algorithm, version, extract, area, grid and options."""
    extract: ExtractFacts
    source: str
    """Where the extract is from: its path, or the URL of the Overpass server that sent it."""
    area: BoundsLonLat
    """The box asked for; else what the extract covers."""
    clip: BoundsLonLat | None
    """Box that features must reach; None takes the whole extract."""
    grid: Grid
    """Grid of the drawn map and of the classes."""
    options: OsmOptions

    @property
    def path(self) -> str:
        """Folder of the product, relative to the store's root."""
        return f"{PRODUCTS_FOLDER}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """Describe one column of a table, as STAC's table extension spells it."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, kw_only=True)
class OsmReceipt:
    """Prove that a product is whole. Written last; holds nothing that differs between two runs of a plan."""

    id: str
    plan_digest: str
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipt itself, sorted by path."""
    features: int
    """Rows of the table."""
    nodes: int
    ways: int
    relations: int
    """Rows by element type; they sum up to ``features``."""
    repaired: int
    quarantined: dict[str, int]
    """Reason → elements that could not become a feature."""
    columns: tuple[ColumnFacts, ...]
    newest: dt.datetime | None
    """Last edit of any feature, UTC."""
    statistics: dict[str, BandStatistics]
    """Of the drawn map's channels, 8-bit values."""
    class_shares: dict[str, float]
    """Class name → share of the class raster's pixels, 0 to 1; classes that occur."""
    graph: dict[str, int]
    """Node and edge types → how many; empty without a graph."""
    software: dict[str, str]
    """Package → version."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)

    @property
    def found(self) -> int:
        """Elements of the area that ought to be features."""
        return self.features + sum(self.quarantined.values())


OSM_PLAN = TypeAdapter(OsmPlan)
OSM_RECEIPT = TypeAdapter(OsmReceipt)


def plan_osm(
    extract: ExtractFacts,
    *,
    source: str,
    clip: BoundsLonLat | None,
    options: OsmOptions,
    resolution_m: float | None = None,
    crs: str | None = None,
) -> OsmPlan:
    """Plan the product of an extract, or of an area of it; the same request gives the same plan.

    Args:
        extract: What the file is.
        source: Where it is from.
        clip: Box that features must reach; None takes the whole extract.
        options: What else to make.
        resolution_m: Pixel edge of the pictures, metres; None takes the finest round number that keeps
            the longer side within 4,096 pixels.
        crs: CRS of the pictures; None chooses UTM.

    Raises:
        InputError: neither the request nor the extract says which area, or the grid is too large.
    """
    area = clip or extract.bounds
    if area is None:
        raise InputError(f"{extract.path} does not say which area it covers; give --bbox W,S,E,N")
    grid = _plan_picture(area, resolution_m, crs)
    plan = OsmPlan(id="", extract=extract, source=source, area=area, clip=clip, grid=grid, options=options)
    return dataclasses.replace(plan, id=spell_id(_stem(plan), plan_digest(plan)))


def plan_digest(plan: OsmPlan) -> str:
    """Hash everything that decides a product's bytes; 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "extract": plan.extract.sha256,
            "area": list(plan.area),
            "clip": None if plan.clip is None else list(plan.clip),
            "grid": dataclasses.asdict(plan.grid),
            "options": _identity_of(plan.options),
        }
    )


def plan_to_json(plan: OsmPlan) -> bytes:
    """Serialise a plan, bytes stable between runs."""
    return canonical_json(OSM_PLAN.dump_python(plan, mode="json"))


def _identity_of(options: OsmOptions) -> dict[str, Any]:
    """Leave out what makes no difference: a limit, and the form of a network that is not kept."""
    chosen = dataclasses.asdict(options)
    del chosen["max_features"]
    if options.network is None:
        del chosen["network_form"]
    return chosen


def _plan_picture(area: BoundsLonLat, resolution_m: float | None, crs: str | None) -> Grid:
    if resolution_m is not None:
        return _check_size(plan_grid(area, resolution_m=resolution_m, crs=crs), resolution_m)
    for step in _STEPS_M:
        grid = plan_grid(area, resolution_m=step, crs=crs) if _fits(area, step) else None
        if grid is not None and max(grid.shape_yx) <= _MAX_PICTURE_PX:
            return grid
    raise InputError(f"the area {area} is too large for one picture; give a smaller --bbox")


def _check_size(grid: Grid, resolution_m: float) -> Grid:
    rows, cols = grid.shape_yx
    if rows * cols > _MAX_PIXELS:
        raise InputError(
            f"the drawn map would have {cols} × {rows} pixels at {resolution_m:g} m, and {_MAX_PIXELS:,} are "
            "the most; choose a coarser --resolution-m or a smaller --bbox"
        )
    return grid


def _fits(area: BoundsLonLat, step: float) -> bool:
    """Say whether a step can suit at all, from the box's least sides; spares grids of billions of pixels."""
    west, south, east, north = area
    width = ((east - west) % 360 or 360) * math.cos(math.radians(max(abs(south), abs(north))))
    return max(width, north - south) * 111_000 / step <= 1.1 * _MAX_PICTURE_PX


def _stem(plan: OsmPlan) -> str:
    name = plan.extract.path.rpartition("/")[2].lower().partition(".")[0].removesuffix("-latest")
    stem = spell_stem(name, letters=40) or "extract"
    if plan.extract.server is not None:
        stem = "overpass"  # its file is named by the query's digest
    day = "undated" if plan.extract.timestamp is None else f"{plan.extract.timestamp:%Y%m%d}"
    return f"osm-{stem}-{day}"
