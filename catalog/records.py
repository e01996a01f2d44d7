"""Define the small frozen records that travel between planning, reading, storing and publishing.

Scene (one source item, reduced) → SceneGroup (one solar day of one collection) → CubePlan (the group on
one grid, with its identity) → Tile (one shard-sized work unit) → CubeReceipt (what was written, last).
All of them are plain data: printable, hashable, picklable, JSON both ways.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import TypeAdapter

from infra.digests import sha256_of_json


@dataclass(frozen=True, kw_only=True)
class Band:
    """Say where the pixels of one variable of one scene are, and how to read them."""

    name: str
    """Variable name in the cube, e.g. ``red``, ``B04``, ``vv``."""
    asset: str
    """Key of the asset in the source item."""
    href: str
    """Absolute path or URL, never signed."""
    index: int = 1
    """1-based band inside the file."""
    dtype: str
    """NumPy dtype of the stored numbers, e.g. ``uint16``."""
    nodata: float | str | None = None
    """Stored number that means "no data"; ``"nan"`` for NaN (JSON cannot spell it); None when unknown."""
    scale: float = 1.0
    offset: float = 0.0
    """physical value = stored number × scale + offset."""
    unit: str | None = None
    """Unit of the physical value, e.g. ``1`` (reflectance), ``dB``, ``K``."""
    common_name: str | None = None
    """STAC ``eo:common_name``, e.g. ``nir``."""
    center_wavelength_um: float | None = None
    gsd_m: float | None = None
    """Ground sampling distance, metres."""
    checksum: str | None = None
    """Multihash of the file as the source states it (``file:checksum``)."""
    quality: bool = False
    """True for class or bit-field bands (SCL, QA_PIXEL): read by nearest neighbour, never averaged."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Hold one source item, reduced to what planning, reading and publishing need."""

    collection: str
    id: str
    datetime: dt.datetime
    """Acquisition, UTC (start of the interval when the source states only an interval)."""
    geometry: dict[str, Any]
    """GeoJSON footprint, lon/lat degrees WGS 84."""
    bands: tuple[Band, ...]
    quality_band: str | None = None
    """Name of the band that the cloud mask reads, e.g. ``scl``; it is among ``bands``."""
    mask_rule: str | None = None
    """Key of the mask rule in ``catalog.sources.masks.RULES``; None when the source has none."""
    signer: str | None = None
    """Key of the signer applied inside each read; None for open data."""
    self_href: str | None = None
    """URL or path of the source item, for ``derived_from``."""
    title: str | None = None
    """Readable name of the source collection, e.g. ``Sentinel-2 L2A``."""
    license: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    """Source properties worth carrying on: platform, instruments, constellation, eo:, sar:, sat:, view:."""
    version: str | None = None
    """What the source says changes with its pixels: processing baseline, ``version`` or ``updated``."""

    @cached_property
    def digest(self) -> str:
        """Identify the scene's pixels as far as its metadata can: 64 hexadecimal digits.

        A stated checksum stands for the file, so a moved copy is the same input, whatever its catalogue
        says of versions; otherwise the unsigned href does, with the source's own version.
        """
        files = [
            [b.name, b.checksum or b.href, b.index, b.dtype, b.nodata, b.scale, b.offset] for b in self.bands
        ]
        version = None if all(band.checksum for band in self.bands) else self.version
        return sha256_of_json([self.collection, self.id, version, files])

    def band(self, name: str) -> Band:
        """Return a band by its name; planning has seen to it that it is there."""
        return next(band for band in self.bands if band.name == name)


@dataclass(frozen=True, kw_only=True)
class SceneGroup:
    """Hold the scenes of one collection on one solar day with one radiometry: they become one cube."""

    collection: str
    day: dt.date
    """Solar day at the area's centre."""
    scenes: tuple[Scene, ...]
    """In mosaicking order: the first valid pixel wins."""

    @property
    def datetime(self) -> dt.datetime:
        """Earliest acquisition of the group, UTC."""
        return min(scene.datetime for scene in self.scenes)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Hold one explicit pixel grid and how it is cut into shards and chunks."""

    crs: str
    """``EPSG:<code>`` where there is one, else WKT 2."""
    transform: tuple[float, float, float, float, float, float]
    """World from pixel corner: x = a·col + b·row + c, y = d·col + e·row + f; CRS units."""
    shape_yx: tuple[int, int]
    shard_px: int
    """Edge of the square work and write unit, pixels; a multiple of ``chunk_px``."""
    chunk_px: int
    """Edge of the square inner chunk, pixels."""

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid as an odc-geo GeoBox."""
        return GeoBox(self.shape_yx, Affine(*self.transform), self.crs)

    @property
    def tiles_yx(self) -> tuple[int, int]:
        """Number of shards down and across."""
        rows, cols = self.shape_yx
        return -(-rows // self.shard_px), -(-cols // self.shard_px)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """Hold the choices that change pixels; part of a product's identity."""

    loader: str = "odc"
    """``odc`` or ``stackstac``."""
    resampling: str = "nearest"
    """GDAL resampling for data bands; quality bands always use nearest."""
    mask: str = "none"
    """``none`` keeps every pixel; ``clouds`` sets cloud, shadow and fill classes to nodata."""


@dataclass(frozen=True, kw_only=True)
class CubePlan:
    """Hold one product to be: a scene group on a grid, with its identity."""

    id: str
    """Readable prefix + short hash of algorithm, version, inputs, grid and options."""
    group: SceneGroup
    grid: Grid
    bands: tuple[str, ...]
    """Variables of the cube, in order."""
    options: ReadOptions

    @property
    def path(self) -> str:
        """Folder of the product, relative to the store's root."""
        return f"scenes/{self.id}"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Name one work unit: one shard of every band of one cube."""

    row: int
    col: int

    @property
    def name(self) -> str:
        """Name of the unit inside its cube, e.g. ``0-3``."""
        return f"{self.row}-{self.col}"


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """Describe one stored object."""

    path: str
    """Relative to the product's folder."""
    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Summarise the stored numbers of one band over its valid pixels."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float
    """0 to 100, of all pixels of the grid."""
    percentile_2: float
    percentile_98: float


@dataclass(frozen=True, kw_only=True)
class CubeReceipt:
    """Prove that a cube is whole. Written last; a product without one does not exist.

    It holds nothing that differs between two runs of the same plan: no clock, host or path.
    """

    id: str
    plan_digest: str
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipts themselves, sorted by path."""
    statistics: dict[str, BandStatistics]
    """Per band, from the full-resolution pixels (percentiles from the smallest overview)."""
    levels: int
    """Resolution levels in the Zarr pyramid, ≥ 1."""
    software: dict[str, str]
    """Package → version that wrote the pixels."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)


SCENE = TypeAdapter(Scene)
CUBE_PLAN = TypeAdapter(CubePlan)
CUBE_RECEIPT = TypeAdapter(CubeReceipt)
