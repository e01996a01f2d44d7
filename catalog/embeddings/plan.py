"""Plan the embeddings of a scene: their identity, their grid, their work units, their receipt."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from affine import Affine
from pydantic import TypeAdapter

from catalog.product_ids import spell_id, spell_stem
from catalog.records import Band, BandStatistics, Grid, StoredFile
from catalog.registrations.plan import SceneFacts
from infra.digests import canonical_json, sha256_of_json
from infra.errors import InputError

ALGORITHM = "embedding"
ALGORITHM_VERSION = "3"
"""Raised whenever the same inputs would give other vectors or another layout."""
PRODUCTS_FOLDER = "embeddings"
DTYPES = ("float16", "float32", "int8")
"""Numbers that vectors may be stored as."""
_SHARD_CELLS, _SMALLEST_SHARD_CELLS = 256, 64
_CHUNK_CELLS = 64
_SHARD_BYTES = 16 << 20
_ROW_BYTES = 256 << 20  # of the shards side by side, held in memory as float32
_MOST_ROW_BYTES = 2 << 30  # of the smallest shards; vectors so long over scenes so wide are refused
_SECTION_PX = 2048
_TABLE_BYTES = 256 << 20  # of the vectors of all tiles: the table is made in memory


@dataclass(frozen=True, kw_only=True)
class EmbeddingInput:
    """Name the variables of one scene that a model sees as one modality."""

    modality: str
    """``rgb`` or ``sar``."""
    scene: SceneFacts
    names: tuple[str, ...]
    """Variables, in the model's order."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingSettings:
    """Hold every number, beside inputs and weights, that vectors depend on."""

    width: int
    """Length of a vector."""
    stride_px: int
    """Edge of a cell, pixels."""
    window_px: int
    overlap_px: int
    tile_px: int
    """Edge of the squares that get one pooled vector each, pixels."""
    dtype: str = "float16"
    """What vectors are stored as."""
    precision: str = "float32"
    """What they are computed with."""
    standardised: str = "scene"
    """``scene``: each band by its own mean and deviation over the scene."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingPlan:
    """Hold the embeddings of one scene to be, with their identity."""

    id: str
    """Readable prefix + short hash of algorithm, version, inputs, weights and settings."""
    inputs: tuple[EmbeddingInput, ...]
    """Of one grid; one for each modality that is seen."""
    grid: Grid
    """Of the cells."""
    model: str
    """Name of the encoder."""
    model_digest: str | None = None
    """Of its weights; None for one without."""
    model_item: str | None = None
    """Id of its item in the collection ``models``."""
    settings: EmbeddingSettings

    @property
    def path(self) -> str:
        """Folder of the product, relative to the store's root."""
        return f"{PRODUCTS_FOLDER}/{self.id}"

    @property
    def scene(self) -> SceneFacts:
        """The first scene, which gives grid, time and name."""
        return self.inputs[0].scene

    @property
    def tile_cells(self) -> int:
        """Edge of the squares with one vector, cells."""
        return self.settings.tile_px // self.settings.stride_px

    @property
    def tiles_yx(self) -> tuple[int, int]:
        """Rows and columns of those squares; the last may be cut."""
        rows, cols = self.grid.shape_yx
        return -(-rows // self.tile_cells), -(-cols // self.tile_cells)


@dataclass(frozen=True, kw_only=True)
class Section:
    """Name one work unit: some whole rows of shards."""

    index: int
    first: int
    """First row, cells."""
    last: int
    """Row after the last, cells."""

    @property
    def name(self) -> str:
        """Name of the unit inside its product."""
        return f"section-{self.index}"


@dataclass(frozen=True, kw_only=True)
class StorageError:
    """State how far stored vectors are from those computed, over all components."""

    maximum: float
    rms: float
    clipped: int
    """Components that were beyond what the numbers can hold, and were cut to it."""


@dataclass(frozen=True, kw_only=True)
class EmbeddingReceipt:
    """Prove that embeddings are whole. Written last; the same for every run of a plan on one device kind."""

    id: str
    plan_digest: str
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipt itself, sorted by path."""
    statistics: dict[str, BandStatistics]
    """``embedding``: of all components of all vectors, as computed; and of the preview's channels."""
    error: StorageError
    scale: float
    """Vector = stored number × scale."""
    standards: dict[str, tuple[tuple[float, ...], tuple[float, ...]]]
    """Modality → mean and deviation of its bands."""
    decibel: bool | None
    """Whether the radar was stored in decibels; None without radar."""
    device: str
    """What all vectors were computed on: ``cpu`` or ``cuda``; the last digits differ between them."""
    tiles: int
    """Pooled vectors."""
    software: dict[str, str]
    """Package → version."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)


EMBEDDING_PLAN = TypeAdapter(EmbeddingPlan)
EMBEDDING_RECEIPT = TypeAdapter(EmbeddingReceipt)


def plan_embedding(
    inputs: Sequence[EmbeddingInput],
    *,
    model: str,
    settings: EmbeddingSettings,
    model_digest: str | None = None,
    model_item: str | None = None,
) -> EmbeddingPlan:
    """Plan the embeddings of a scene; the same request gives the same plan.

    Args:
        inputs: What the model sees.
        model: Name of the encoder.
        settings: Every other number that vectors depend on.
        model_digest: Of its weights.
        model_item: Id of their item.

    Raises:
        InputError: settings that do not go together, tiles too small for the scene, or a scene too wide.
    """
    _check_settings(settings)
    plan = EmbeddingPlan(
        id="",
        inputs=tuple(inputs),
        grid=_plan_cells(inputs[0].scene.grid, settings),
        model=model,
        model_digest=model_digest,
        model_item=model_item,
        settings=settings,
    )
    _check_table(plan)
    _check_rows(plan)
    return dataclasses.replace(plan, id=spell_id(_stem(plan), plan_digest(plan)))


def plan_digest(plan: EmbeddingPlan) -> str:
    """Hash everything that decides a product's bytes; 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "inputs": [_identify(each) for each in plan.inputs],
            "grid": dataclasses.asdict(plan.grid),
            "model": [plan.model, plan.model_digest],
            "settings": dataclasses.asdict(plan.settings),
        }
    )


def plan_to_json(plan: EmbeddingPlan) -> bytes:
    """Serialise a plan, bytes stable between runs."""
    return canonical_json(EMBEDDING_PLAN.dump_python(plan, mode="json"))


def list_sections(plan: EmbeddingPlan) -> list[Section]:
    """Cut embeddings into work units of whole shard rows, about 2048 pixels high each."""
    rows, shard = plan.grid.shape_yx[0], plan.grid.shard_px
    step = max(1, _SECTION_PX // (shard * plan.settings.stride_px)) * shard
    return [
        Section(index=index, first=first, last=min(first + step, rows))
        for index, first in enumerate(range(0, rows, step))
    ]


def _check_settings(settings: EmbeddingSettings) -> None:
    if settings.dtype not in DTYPES:
        raise InputError(f"vectors cannot be stored as {settings.dtype!r}; choose from {', '.join(DTYPES)}")
    cells, rest = divmod(settings.tile_px, settings.stride_px)
    if rest or cells < 1 or cells & (cells - 1) or cells > _SMALLEST_SHARD_CELLS:
        raise InputError(
            f"tiles of {settings.tile_px} px are not 1, 2, 4 … {_SMALLEST_SHARD_CELLS} cells of "
            f"{settings.stride_px} px; give e.g. {settings.stride_px * 16}"
        )


def _check_table(plan: EmbeddingPlan) -> None:
    """Refuse tiles so small that their vectors would not fit into memory beside each other."""
    rows, cols = plan.tiles_yx
    held = rows * cols * plan.settings.width * 4
    if held <= _TABLE_BYTES:
        return
    settings, tile_px = plan.settings, plan.settings.tile_px
    largest = settings.stride_px * _SMALLEST_SHARD_CELLS
    while held > _TABLE_BYTES and tile_px < largest:
        tile_px, held = tile_px * 2, held // 4
    advice = f"give {tile_px} or more" if held <= _TABLE_BYTES else "encode the scene in parts"
    raise InputError(
        f"tiles of {settings.tile_px} px would give {plan.scene.id} {rows * cols:,} vectors of "
        f"{settings.width} numbers, more than the {_TABLE_BYTES >> 20} MiB that are held in memory; {advice}"
    )


def _check_rows(plan: EmbeddingPlan) -> None:
    held = plan.settings.width * plan.grid.shard_px * plan.grid.shape_yx[1] * 4
    if held > _MOST_ROW_BYTES:
        raise InputError(
            f"vectors of {plan.settings.width} numbers over the {plan.grid.shape_yx[1]:,} columns of cells "
            f"of {plan.scene.id} take {held / 2**30:.1f} GiB a row of shards, more than the "
            f"{_MOST_ROW_BYTES >> 30} GiB that are held in memory; encode the scene in parts"
        )


def _identify(each: EmbeddingInput) -> dict[str, Any]:
    """Return what of an input decides bytes: its pixels, and what its item says they mean."""
    bands = {band.name: band for band in each.scene.bands}
    return {
        "modality": each.modality,
        "scene": [each.scene.id, each.scene.digest],
        "datetime": each.scene.datetime.astimezone(dt.UTC).isoformat(),
        "bands": [_identify_band(bands[name]) for name in each.names],
    }


def _identify_band(band: Band) -> list[str | None]:
    # As texts: JSON spells 0 and 0.0 differently, and NaN not at all.
    nodata = None if band.nodata is None else str(float(band.nodata))
    return [band.name, band.dtype, nodata, str(float(band.scale)), str(float(band.offset)), band.unit]


def _plan_cells(scene: Grid, settings: EmbeddingSettings) -> Grid:
    """Return the grid of the cells; shards get smaller as vectors get longer and scenes wider."""
    rows, cols = (-(-length // settings.stride_px) for length in scene.shape_yx)
    shard = _SHARD_CELLS
    while shard > _SMALLEST_SHARD_CELLS and (
        settings.width * shard**2 * 2 > _SHARD_BYTES or settings.width * shard * cols * 4 > _ROW_BYTES
    ):
        shard //= 2
    while shard > _SMALLEST_SHARD_CELLS and shard >= 2 * max(rows, cols):
        shard //= 2
    return dataclasses.replace(
        scene,
        transform=tuple((Affine(*scene.transform) @ Affine.scale(settings.stride_px))[:6]),
        shape_yx=(rows, cols),
        shard_px=shard,
        chunk_px=_CHUNK_CELLS,
    )


def _stem(plan: EmbeddingPlan) -> str:
    return f"embedded-{spell_stem(plan.scene.id.rpartition('-')[0]) or 'scene'}"
