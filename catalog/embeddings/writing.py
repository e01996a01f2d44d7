"""Write finished rows of cells into whole shards, and sum up what table, picture and receipt need of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from catalog.cubes.objects import RecordingStore
from catalog.cubes.pyramid import Moments, merge_moments
from catalog.embeddings.layout import CUBE_FOLDER, VARIABLE
from catalog.embeddings.pictures import choose_block_cells, project_blocks
from catalog.embeddings.plan import EmbeddingPlan, Section
from catalog.embeddings.quantising import ErrorSums, choose_scale, store_vectors
from catalog.embeddings.sections import SectionReceipt, SectionSums, VectorSurvey, check_work
from infra.errors import InternalError
from infra.storage import Storage

_ROWS_AT_ONCE = 8


class SectionWriter:
    """Takes the rows of one section from above, and writes a row of shards as soon as it is full.

    Args:
        storage: The store.
        plan: What the product is; its metadata stand already.
        section: What is written.
        survey: How vectors are stored and drawn.
    """

    def __init__(self, storage: Storage, plan: EmbeddingPlan, section: Section, survey: VectorSurvey) -> None:
        self._storage, self._plan, self._section, self._survey = storage, plan, section, survey
        self._scale = choose_scale(plan.settings.dtype, survey.reach)
        self._store = RecordingStore(storage, f"{plan.path}/{CUBE_FOLDER}")
        self._array = _open(self._store)
        self._pieces: list[NDArray[np.float32]] = []
        self._filled, self._row = 0, section.first
        self._errors: list[ErrorSums] = []
        self._moments: list[Moments | None] = []
        self._vectors, self._shares, self._pictures = [], [], []  # type: ignore[var-annotated]

    def add(self, first: int, values: NDArray[np.float32]) -> None:
        """Take some rows.

        Args:
            first: The first row, cells; the one after the last that was taken.
            values: float32 (rows, columns, width), NaN where there is no data. They are kept until their
                shards are full, and must not change.

        Raises:
            InternalError: rows are missing, or too many.
            TransientError: the work does not count any more; see ``catalog.embeddings.sections.check_work``.
        """
        expected = self._row + self._filled
        if first != expected or first + len(values) > self._section.last:
            raise InternalError(f"rows {first} to {first + len(values)} came where {expected} was next")
        taken = 0
        while taken < len(values):
            room = min(self._rows_now() - self._filled, len(values) - taken)
            self._pieces.append(values[taken : taken + room])
            self._filled, taken = self._filled + room, taken + room
            if self._filled == self._rows_now():
                self._write_row()

    def finish(self) -> tuple[SectionReceipt, SectionSums]:
        """Return the section's receipt and sums.

        Raises:
            InternalError: rows are missing.
        """
        if self._row != self._section.last:
            raise InternalError(f"{self._section.name} of {self._plan.id} ends at row {self._row}")
        receipt = SectionReceipt(
            section=self._section,
            work=self._survey.work,
            files=tuple(self._store.take_written(f"{CUBE_FOLDER}/")),
            moments=merge_moments(self._moments),
            error=_add_errors(self._errors),
        )
        return receipt, SectionSums(
            vectors=np.concatenate(self._vectors),
            shares=np.concatenate(self._shares),
            picture=np.concatenate(self._pictures, axis=1),
        )

    def _rows_now(self) -> int:
        """Rows of the shards that are being filled: fewer at the end of the scene."""
        return min(self._plan.grid.shard_px, self._section.last - self._row)

    def _write_row(self) -> None:
        """Write a row of shards, one after the other: what is made of one is soon let go."""
        check_work(self._storage, self._plan, self._survey)
        shard, cols = self._plan.grid.shard_px, self._plan.grid.shape_yx[1]
        rows = slice(self._row, self._row + self._filled)
        vectors, shares, pictures = [], [], []
        for left in range(0, cols, shard):
            window = slice(left, min(left + shard, cols))
            block = np.concatenate([piece[:, window] for piece in self._pieces])
            known = np.isfinite(block[..., 0])
            self._write_shard(rows, window, block, known)
            means, share = pool_tiles(block, known, self._plan.tile_cells)
            vectors.append(means)
            shares.append(share)
            pictures.append(project_blocks(block, known, choose_block_cells(self._plan.grid), self._survey))
        self._vectors.append(np.concatenate(vectors, axis=1))
        self._shares.append(np.concatenate(shares, axis=1))
        self._pictures.append(np.concatenate(pictures, axis=2))
        self._row, self._filled, self._pieces = self._row + self._filled, 0, []

    def _write_shard(
        self, rows: slice, cols: slice, block: NDArray[np.float32], known: NDArray[np.bool_]
    ) -> None:
        if not known.any():
            return  # an absent shard reads as no data
        shape = (self._plan.settings.width, *known.shape)
        stored = np.empty(shape, self._array.dtype)
        # A few rows at a time stay in the processor's cache from one look at them to the next.
        for first in range(0, len(block), _ROWS_AT_ONCE):
            few = slice(first, first + _ROWS_AT_ONCE)
            values, there = block[few], known[few]
            vectors, error = store_vectors(values, self._plan.settings.dtype, self._scale)
            stored[:, few] = np.moveaxis(vectors, 2, 0)
            self._errors.append(error)
            if there.any():
                self._moments.append(_measure(values if there.all() else values[there]))
        self._array[:, rows, cols] = stored


def pool_tiles(
    block: NDArray[np.float32], known: NDArray[np.bool_], edge: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Average the vectors of each tile.

    Args:
        block: (rows, columns, width); begins with a tile.
        known: bool (rows, columns): where there are vectors.
        edge: Of a tile, cells.

    Returns:
        float32 (tile rows, tile columns, width), 0 where a tile has none; and the share of its cells with
        a vector, of those that the block has.
    """

    def total(values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum (rows, columns, n) over tiles; a matrix product does it several times faster than sums do."""
        rows = down @ values.reshape(len(values), -1)
        sums: NDArray[np.float32] = across @ rows.reshape(len(down), *values.shape[1:])
        return sums

    down, across = (_name_tiles(side, edge) for side in known.shape)
    count = total(known.astype(np.float32)[..., None])
    sums = total(block if known.all() else np.where(known[..., None], block, np.float32(0)))
    shares = count / total(np.ones((*known.shape, 1), np.float32))
    means: NDArray[np.float32] = np.divide(sums, np.maximum(count, 1), dtype=np.float32)
    return means, shares[..., 0]


def _name_tiles(cells: int, edge: int) -> NDArray[np.float32]:
    """Return which cells of a row each tile has, 1 or 0, (tiles, cells)."""
    named: NDArray[np.bool_] = np.arange(cells) // edge == np.arange(-(-cells // edge))[:, None]
    return named.astype(np.float32)


def _open(store: RecordingStore) -> zarr.Array[Any]:
    array = zarr.open_group(store, mode="r+", zarr_format=3, use_consolidated=True)[VARIABLE]
    assert isinstance(array, zarr.Array)
    return array


def _measure(values: NDArray[np.float32]) -> Moments:
    """Summarise components; deviations are taken from the mean first, so single precision will do."""
    mean = float(values.mean(dtype=np.float64))
    off = values - np.float32(mean)
    return Moments(
        count=values.size,
        mean=mean,
        m2=float(np.vdot(off, off)),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


def _add_errors(errors: list[ErrorSums]) -> ErrorSums:
    return ErrorSums(
        count=sum(each.count for each in errors),
        maximum=max((each.maximum for each in errors), default=0.0),
        squares=float(sum(each.squares for each in errors)),
        clipped=sum(each.clipped for each in errors),
    )
