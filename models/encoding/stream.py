"""Encode a scene as it is read: rows of windows in, finished rows of cells out, memory of one row only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infra.errors import InputError, InternalError
from models.encoding.encoder import DenseEncoder
from models.encoding.feeding import Batch, cut_batches, feed
from models.encoding.strips import Strip
from models.encoding.windows import WindowLayout, raised_cosine

_ROWS_AT_ONCE = 8
"""Cells; a scene 20,000 px wide has 20 MB of them at 128 numbers each."""
PRECISIONS = ("float32", "bfloat16")
"""Numbers that the encoder may compute with; sums are float32 always."""


@dataclass(frozen=True, eq=False)
class CellRows:
    """Some finished rows of cells.

    Attributes:
        start: the first one.
        values: float32 (rows, columns, width), NaN where a cell has no pixel of data.
    """

    start: int
    values: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Says where and how windows are encoded; but for the precision the numbers do not depend on it."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch: int = 8
    """Windows at a time."""
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r} is unknown; give {' or '.join(PRECISIONS)}")
        if self.batch < 1:
            raise InputError(f"a batch of {self.batch} windows is none; give 1 or more")


def encode_windows(encoder: DenseEncoder, batch: Batch, computation: Computation) -> Tensor:
    """Encode one batch.

    Returns:
        float32 (batch, width, cells, cells) on the device.

    Raises:
        InternalError: the encoder answers in another shape than it says.
    """
    reduced = computation.precision == "bfloat16"
    with torch.autocast(computation.device.type, dtype=torch.bfloat16, enabled=reduced):
        found = encoder.encode(batch.images).float()
    cells = encoder.window_px // encoder.stride_px
    if found.shape != (len(batch.starts), encoder.width, cells, cells):
        raise InternalError(
            f"encoder {encoder.name} gave {tuple(found.shape)} for {len(batch.starts)} windows, "
            f"not vectors of {encoder.width} for {cells} × {cells} cells"
        )
    return found


def encode_strips(
    encoder: DenseEncoder,
    strips: Iterable[Strip],
    layout: WindowLayout,
    computation: Computation,
    *,
    rows: range | None = None,
) -> Iterator[CellRows]:
    """Encode rows of windows, blend where they overlap, and give rows of cells as soon as they are done.

    What comes out for a row does not depend on ``rows``: parts of a scene can be encoded apart, if each is
    given all windows that touch it (``WindowLayout.rows_touching``).

    Args:
        encoder: Gives each cell its vector; on the computation's device.
        strips: The rows of windows, from above.
        layout: Where they lie.
        computation: Where and how.
        rows: Cells to give; None for all of the scene.

    Raises:
        InputError: layout and encoder do not go together.
    """
    if (layout.window_px, layout.stride_px) != (encoder.window_px, encoder.stride_px):
        raise InputError(
            f"encoder {encoder.name} sees windows of {encoder.window_px} px in cells of "
            f"{encoder.stride_px} px, not {layout.window_px} and {layout.stride_px}"
        )
    wanted = range(layout.cells_yx[0]) if rows is None else rows
    canvas = _Canvas(encoder.width, layout, computation.device)
    above: Strip | None = None
    with torch.inference_mode():
        for strip in strips:
            if above is not None:
                for done in canvas.take(above, strip.start):
                    yield from _clip(done, wanted)
            for batch in feed(cut_batches(strip, layout, computation.batch), computation.device):
                canvas.add(batch, encode_windows(encoder, batch, computation))
            above = strip
        if above is not None:
            for done in canvas.take(above, layout.cells_yx[0]):
                yield from _clip(done, wanted)


def _clip(done: CellRows, wanted: range) -> Iterator[CellRows]:
    low = max(done.start, wanted.start)
    high = min(done.start + len(done.values), wanted.stop)
    if low < high:
        yield CellRows(low, done.values[low - done.start : high - done.start])


class _Canvas:
    """Sums weighted vectors over one row of windows.

    A cell's numbers lie side by side, as encoders give them: whole runs are added, and copied out again.
    """

    def __init__(self, width: int, layout: WindowLayout, device: torch.device) -> None:
        self._layout = layout
        self._edge = layout.window_cells
        shape = (self._edge, layout.padded_yx[1])
        self._sums = torch.zeros((*shape, width), dtype=torch.float32, device=device)
        self._weights = torch.zeros(shape, dtype=torch.float32, device=device)
        self._weight = torch.from_numpy(raised_cosine(self._edge)).to(device)

    def add(self, batch: Batch, found: Tensor) -> None:
        """Add what windows of the row gave, (batch, width, cells, cells)."""
        for start, values in zip(batch.starts, found.permute(0, 2, 3, 1), strict=True):
            self._sums[:, start : start + self._edge].addcmul_(values, self._weight[..., None])
            self._weights[:, start : start + self._edge] += self._weight

    def take(self, strip: Strip, until: int) -> Iterator[CellRows]:
        """Take the rows above ``until``, which no later window sees, a few at a time; make room below."""
        count = min(until - strip.start, self._edge)
        cols, stride = self._layout.cells_yx[1], self._layout.stride_px
        pixels = strip.valid[: count * stride, : cols * stride]
        known = np.asarray(pixels.reshape(count, stride, cols, stride).any(axis=(1, 3)))
        for first in range(0, count, _ROWS_AT_ONCE):
            rows = slice(first, min(first + _ROWS_AT_ONCE, count))
            weights = self._weights[rows, :cols].clamp_min(torch.finfo(torch.float32).tiny)
            values = (self._sums[rows, :cols] / weights[..., None]).cpu().numpy()
            if not known[rows].all():
                values[~known[rows]] = np.nan
            yield CellRows(strip.start + first, values)
        self._make_room(count)

    def _make_room(self, count: int) -> None:
        for held in (self._sums, self._weights):
            kept = held[count:].clone()
            held[: self._edge - count] = kept
            held[self._edge - count :] = 0
