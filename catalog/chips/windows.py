"""Where chips are cut: squares side by side, the last ones moved back to the border; pure numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infra.errors import InputError

PUBLISHED_SIZE_PX = 1024
LEAST_VALID = 0.7
"""Part of a chip's pixels that must hold radar data, as published."""
_MOST_WINDOWS = 4_000_000


@dataclass(frozen=True)
class ChipWindow:
    """A square of whole pixels: row and column of its upper left one, and its side."""

    row: int
    col: int
    size_px: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The same as rows and columns of an array."""
        return slice(self.row, self.row + self.size_px), slice(self.col, self.col + self.size_px)


@dataclass(frozen=True)
class ChipChoice:
    """Which windows make chips.

    Attributes:
        windows: those that do, row by row.
        blank: how many hold no data at all on one side or the other.
        sparse: how many hold some, but less radar than is wanted.
    """

    windows: tuple[ChipWindow, ...]
    blank: int
    sparse: int


def plan_windows(shape_yx: tuple[int, int], size_px: int = PUBLISHED_SIZE_PX) -> tuple[ChipWindow, ...]:
    """Cover an image with squares that do not overlap, but for the last row and column.

    Where the side is no multiple of the size, the last squares are moved back to end at the border.

    Raises:
        InputError: squares are larger than the image, of no size, or too many.
    """
    if size_px < 1 or size_px > min(shape_yx):
        raise InputError(
            f"Chips of {size_px} px cannot be cut from {shape_yx[0]} × {shape_yx[1]} px; give a size of 1 to "
            f"{min(shape_yx)}."
        )
    if -(-shape_yx[0] // size_px) * -(-shape_yx[1] // size_px) > _MOST_WINDOWS:
        raise InputError(
            f"{shape_yx[0]} × {shape_yx[1]} px make more than {_MOST_WINDOWS:,} chips of {size_px} px; "
            "give a larger size."
        )
    rows, cols = (list(_starts(side, size_px)) for side in shape_yx)
    return tuple(ChipWindow(row, col, size_px) for row in rows for col in cols)


def choose_windows(
    shares: Iterable[tuple[ChipWindow, float, float]], *, least: float = LEAST_VALID
) -> ChipChoice:
    """Keep the windows with enough data, and count the others.

    Args:
        shares: window, and which part of its pixels holds optical and which radar data, 0 to 1.
        least: part that must hold radar data.

    Raises:
        InputError: ``least`` is not 0 to 1.
    """
    if not 0 <= least <= 1:
        raise InputError(f"Chips need radar data on {least} of their pixels; expected 0 to 1.")
    kept, blank, sparse = [], 0, 0
    for window, optical, radar in shares:
        if min(optical, radar) <= 0:
            blank += 1
        elif radar < least:
            sparse += 1
        else:
            kept.append(window)
    return ChipChoice(tuple(kept), blank, sparse)


def _starts(side: int, size_px: int) -> Iterator[int]:
    yield from range(0, side - size_px + 1, size_px)
    if side % size_px:
        yield side - size_px
