"""The two graphs over one image's keypoints: neighbours in the image, neighbours in meaning."""

# No postponed annotations: TorchScript reads named tuples by their types.

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Graph(NamedTuple):
    """Neighbours of keypoints.

    Attributes:
        nearest: int64 (batch, n, k), each keypoint's neighbours, nearest first; itself among them.
        edges: float32 (batch, n, k, 3): offset to the neighbour along x and y, log(1 + its length), in
            units of the positions.
        valid: bool (batch, n, k), False where there are fewer than k keypoints.
    """

    nearest: Tensor
    edges: Tensor
    valid: Tensor


def plane_graph(positions: Tensor, valid: Tensor, neighbours: int) -> Graph:
    """Return the nearest keypoints in the image plane.

    Args:
        positions: float32 (batch, n, 2).
        valid: bool (batch, n); others are nobody's neighbours.
        neighbours: k, itself among them.
    """
    return _nearest(-torch.cdist(positions, positions), positions, valid, neighbours)


def semantic_graph(semantic: Tensor, positions: Tensor, valid: Tensor, neighbours: int) -> Graph:
    """Return the keypoints of most alike surroundings by the cosine of their semantic features.

    Args:
        semantic: float32 (batch, n, channels).
        positions: float32 (batch, n, 2).
        valid: bool (batch, n).
        neighbours: k, itself among them.
    """
    unit = torch.nn.functional.normalize(semantic, dim=-1)
    return _nearest(unit @ unit.transpose(1, 2), positions, valid, neighbours)


def subgraph(graph: Graph, keep: Tensor, rows: Tensor) -> Graph:
    """Return a graph of fewer keypoints.

    Args:
        graph: of n keypoints.
        keep: bool (batch, n): which stay neighbours.
        rows: int64 (batch, m): the keypoints that stay, in their new order; may repeat in padding.
    """
    places = (torch.cumsum(keep.long(), dim=1) - 1).clamp_min(0)
    spread = rows[:, :, None].expand(-1, -1, graph.nearest.shape[2])
    old = torch.gather(graph.nearest, 1, spread)
    flat = old.flatten(1)
    valid = torch.gather(graph.valid, 1, spread) & torch.gather(keep, 1, flat).reshape(old.shape)
    edges = torch.gather(graph.edges, 1, spread[..., None].expand(-1, -1, -1, 3))
    return Graph(torch.gather(places, 1, flat).reshape(old.shape), edges, valid)


def take_rows(values: Tensor, index: Tensor) -> Tensor:
    """Return rows (batch, n, k, channels) of values (batch, m, channels) by index (batch, n, k)."""
    batch, n, k = index.shape
    first = torch.arange(batch, device=index.device)[:, None, None] * values.shape[1]
    return values.flatten(0, 1).index_select(0, (index + first).flatten()).reshape(batch, n, k, -1)


def _nearest(closeness: Tensor, positions: Tensor, valid: Tensor, neighbours: int) -> Graph:
    closeness = closeness.masked_fill(~valid[:, None], -math.inf)
    # A keypoint is its own first neighbour even where others lie on the very same spot.
    itself = torch.eye(closeness.shape[1], device=closeness.device, dtype=torch.bool) & valid[:, None]
    closeness = closeness.masked_fill(itself, math.inf)
    best, index = torch.topk(closeness, min(neighbours, closeness.shape[2]), dim=2)
    offset = take_rows(positions, index) - positions[:, :, None]
    length = torch.log1p(torch.sqrt((offset**2).sum(dim=-1, keepdim=True)))
    return Graph(index, torch.cat([offset, length], dim=-1), best > -math.inf)
