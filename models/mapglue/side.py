"""The keypoints of one image on their way through the matching network."""

# No postponed annotations: TorchScript reads named tuples by their types.

from typing import NamedTuple

import torch
from torch import Tensor

from models.mapglue.graph import Graph, subgraph


class Points(NamedTuple):
    """Keypoints as the matching network is given them; padding is allowed anywhere.

    Attributes:
        positions: float32 (batch, n, 2), see :func:`normalise_positions`.
        descriptors: float32 (batch, n, descriptor width).
        semantic: float32 (batch, n, semantic width).
        valid: bool (batch, n), False for padding.
    """

    positions: Tensor
    descriptors: Tensor
    semantic: Tensor
    valid: Tensor


class Side(NamedTuple):
    """Keypoints inside the network; ``rows`` says which of the given points they are."""

    x: Tensor
    positions: Tensor
    turns: Tensor
    plane: Graph
    semantic: Graph
    valid: Tensor
    rows: Tensor


def normalise_positions(xy: Tensor, shape: list[int], unit_px: float) -> Tensor:
    """Return pixels (batch, n, 2) as positions from the image's middle.

    Args:
        xy: float32 (batch, n, 2), pixels.
        shape: the image's height and width.
        unit_px: what counts as 1; 0 for half the longer side.
    """
    middle = torch.tensor([shape[1] - 1.0, shape[0] - 1.0], device=xy.device, dtype=xy.dtype) / 2
    unit = unit_px if unit_px > 0 else max(shape[0], shape[1]) / 2
    return (xy - middle) / unit


def pick_pairs(side: Side, pairs: Tensor) -> Side:
    """Return the points of some of the pairs, int64 (fewer,)."""
    return Side(
        side.x[pairs],
        side.positions[pairs],
        side.turns[:, pairs],
        Graph(side.plane.nearest[pairs], side.plane.edges[pairs], side.plane.valid[pairs]),
        Graph(side.semantic.nearest[pairs], side.semantic.edges[pairs], side.semantic.valid[pairs]),
        side.valid[pairs],
        side.rows[pairs],
    )


def drop_points(side: Side, keep: Tensor) -> Side:
    """Return only the points to keep, bool (batch, n), in their order, padded to the fullest pair."""
    keep = keep & side.valid
    most = max(int(keep.sum(dim=1).max()), 1)
    rows = torch.sort((~keep).to(torch.uint8), dim=1, stable=True).indices[:, :most]
    wide = rows[:, :, None]
    turns = side.turns.gather(3, rows[None, :, None, :, None].expand(2, -1, 1, -1, side.turns.shape[4]))
    return Side(
        torch.gather(side.x, 1, wide.expand(-1, -1, side.x.shape[2])),
        torch.gather(side.positions, 1, wide.expand(-1, -1, 2)),
        turns,
        subgraph(side.plane, keep, rows),
        subgraph(side.semantic, keep, rows),
        torch.gather(keep, 1, rows),
        torch.gather(side.rows, 1, rows),
    )
