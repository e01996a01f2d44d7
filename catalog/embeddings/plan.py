"""Plan the embeddings of a scene: their identity, their grid, their work units, their receipt."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

from affine import Affine
from pydantic import TypeAdapter

from catalog.records import BandStatistics, Grid, StoredFile
from catalog.registrations.plan import SceneFacts
from infra.digests import canonical_json, sha256_of_json
from infra.errors import InputError

ALGORITHM = "embedding"
ALGORITHM_VERSION = "1"
"""Raised whenever the same inputs would give other vectors or another layout."""
PRODUCTS_FOLDER = "embeddings"
DTYPES = ("float16", "float32", "int8")
"""Numbers that vectors may be stored as."""
_HASH_DIGITS = 12
_SHARD_CELLS, _SMALLEST_SHARD_CELLS = 256, 64
_CHUNK_CELLS = 64
_SHARD_BYTES = 16 << 20
_ROW_BYTES = 256 << 20  # of the shards side by side, held in memory as float32
_SECTION_PX = 2048


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
    """Prove that embeddings are whole. Written last; the same for every run of a plan."""

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
        InputError: settings that do not go together.
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
    return dataclasses.replace(plan, id=f"{_prefix(plan)}-{plan_digest(plan)[:_HASH_DIGITS]}")


def plan_digest(plan: EmbeddingPlan) -> str:
    """Hash everything that decides a product's bytes; 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "inputs": [[each.modality, each.scene.digest, list(each.names)] for each in plan.inputs],
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


def _prefix(plan: EmbeddingPlan) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", plan.scene.id.rpartition("-")[0].lower()).strip("-")[:48] or "scene"
    return f"embedded-{stem}"
