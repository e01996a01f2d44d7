"""Pool the tie points of tiles, and spread them evenly over the scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.matching.matches import Matches
from models.registration.tiles import Tile


@dataclass(frozen=True, eq=False)
class TiePoints:
    """Tie points in the pixels of two whole scenes.

    Attributes:
        fixed_xy: float64 (n, 2), x to the right and y down; (0, 0) is the centre of the first pixel.
        moving_xy: float64 (n, 2), the same places in the moving scene.
        scores: float64 (n,), larger is better; comparable within one matcher only.
    """

    fixed_xy: NDArray[np.float64]
    moving_xy: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of tie points."""
        return len(self.scores)

    def take(self, index: NDArray[Any]) -> TiePoints:
        """Return the tie points of an index or mask, in its order."""
        return TiePoints(self.fixed_xy[index], self.moving_xy[index], self.scores[index])

    @classmethod
    def of(cls, matches: Matches) -> TiePoints:
        """Take over the matches of two whole images."""
        return cls(
            matches.fixed_xy.astype(np.float64),
            matches.moving_xy.astype(np.float64),
            matches.scores.astype(np.float64),
        )


def pool_matches(parts: Iterable[tuple[Tile, Matches]]) -> TiePoints:
    """Put the matches of tiles into the scenes' pixels, best first.

    Args:
        parts: each tile, cut at the same place out of both scenes, and what a matcher found in it.
    """
    pooled: list[TiePoints] = [TiePoints.of(Matches.none())]
    for tile, matches in parts:
        points, corner = TiePoints.of(matches), np.array([tile.left, tile.top], np.float64)
        pooled.append(TiePoints(points.fixed_xy + corner, points.moving_xy + corner, points.scores))
    joined = join_points(pooled)
    return joined.take(np.argsort(-joined.scores, kind="stable"))


def join_points(parts: Sequence[TiePoints]) -> TiePoints:
    """Put sets of tie points, one at least, one after the other."""
    return TiePoints(
        np.concatenate([part.fixed_xy for part in parts]),
        np.concatenate([part.moving_xy for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def spread_evenly(points: TiePoints, *, cell_px: float, per_cell: int) -> TiePoints:
    """Keep the best tie points of each cell of a square grid, best first.

    A town with a thousand corners would else outvote the fields around it; and overlapping tiles find the
    same corner twice.
    """
    order = np.argsort(-points.scores, kind="stable")
    cells = np.floor(points.fixed_xy[order] / cell_px).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    grouped = np.argsort(cell, kind="stable")
    first = np.concatenate([[True], np.diff(cell[grouped]) != 0]) if len(cell) else np.zeros(0, np.bool_)
    starts = np.flatnonzero(first)
    rank = np.arange(len(cell)) - np.repeat(starts, np.diff([*starts, len(cell)]))
    kept = np.sort(grouped[rank < per_cell])
    return points.take(order[kept])
