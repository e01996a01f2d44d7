"""Cut a scene into overlapping tiles that a matcher can take."""

from __future__ import annotations

from dataclasses import dataclass

from infra.errors import InputError


@dataclass(frozen=True)
class Tile:
    """One window of a scene.

    Attributes:
        top: first row.
        left: first column.
        height: rows.
        width: columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def cut_tiles(shape: tuple[int, int], *, tile_px: int, overlap_px: int) -> tuple[Tile, ...]:
    """Cover an image with tiles, row by row; the last of a row or column is moved inwards, not cut off.

    Args:
        shape: height and width of the image.
        tile_px: edge of a tile; an image that is smaller along an axis gets tiles of its own size there.
        overlap_px: least overlap of neighbours.

    Raises:
        InputError: the overlap is not smaller than the tile, or one of them is negative.
    """
    if not 0 <= overlap_px < tile_px:
        raise InputError(f"tiles of {tile_px} px cannot overlap by {overlap_px} px; give less")
    tops, lefts = (_starts(length, tile_px, overlap_px) for length in shape)
    height, width = min(shape[0], tile_px), min(shape[1], tile_px)
    return tuple(Tile(top, left, height, width) for top in tops for left in lefts)


def _starts(length: int, edge: int, overlap: int) -> list[int]:
    if length <= edge:
        return [0]
    count = -(-(length - overlap) // (edge - overlap))
    return [round(index * (length - edge) / (count - 1)) for index in range(count)]
