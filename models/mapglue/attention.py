"""Attention among one image's keypoints along its graphs, and across two images.

The parameters of ``self_attn`` and ``cross_attn`` have the shapes and names of LightGlue's, so that its
weights load: Lindenberger, Sarlin, Pollefeys, "LightGlue: Local Feature Matching at Light Speed", ICCV
2023, doi:10.1109/ICCV51070.2023.01616.
"""

# No postponed annotations: TorchScript reads types, not their names.

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.mapglue.graph import Graph, take_rows


def split_last(x: Tensor, shape: list[int]) -> Tensor:
    """Return a tensor whose last axis is several."""
    return x.reshape(list(x.shape[:-1]) + shape)


class RotaryPositions(nn.Module):
    """Positions as learned turns of feature pairs: attention then sees only differences of positions."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, head_width // 2, bias=False)
        nn.init.normal_(self.Wr.weight)

    def forward(self, positions: Tensor) -> Tensor:
        """Return cosines and sines, float32 (2, batch, 1, n, head width), of positions (batch, n, 2)."""
        angles = self.Wr(positions)
        turns = torch.stack([torch.cos(angles), torch.sin(angles)])
        return turns.repeat_interleave(2, dim=-1)[:, :, None]


def turn(features: Tensor, turns: Tensor) -> Tensor:
    """Return features (batch, heads, n, head width) turned by :class:`RotaryPositions`' answer."""
    pairs = split_last(features, [-1, 2])
    crossed = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return features * turns[0] + crossed * turns[1]


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, width)
    )


class DualGraphAttention(nn.Module):
    """Self-attention along both graphs, fused by a gate.

    Both graphs share queries, keys and values. What an edge looks like shifts its attention by a learned
    amount per head, which starts at 0.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.Wqkv = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        self.ffn = _feed_forward(width)
        self.plane_edges = nn.Linear(3, heads)
        self.semantic_edges = nn.Linear(3, heads)
        self.fuse = nn.Linear(2 * width, width)
        for layer in (self.plane_edges, self.semantic_edges, self.fuse):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, turns: Tensor, plane: Graph, semantic: Graph) -> Tensor:
        """Return features (batch, n, width) that have looked at their neighbours in both graphs."""
        qkv = split_last(self.Wqkv(x), [self.heads, -1, 3]).transpose(1, 2)
        query, key = turn(qkv[..., 0], turns), turn(qkv[..., 1], turns)
        key, value = key.transpose(1, 2).flatten(2), qkv[..., 2].transpose(1, 2).flatten(2)
        near = self._look(query, key, value, plane, self.plane_edges(plane.edges))
        alike = self._look(query, key, value, semantic, self.semantic_edges(semantic.edges))
        gate = torch.sigmoid(self.fuse(torch.cat([near, alike], dim=-1)))
        message = self.out_proj(gate * near + (1 - gate) * alike)
        grown: Tensor = x + self.ffn(torch.cat([x, message], dim=-1))
        return grown

    def _look(self, query: Tensor, key: Tensor, value: Tensor, graph: Graph, bias: Tensor) -> Tensor:
        """Return messages (batch, n, width) for queries (batch, heads, n, head width)."""
        keys = split_last(take_rows(key, graph.nearest), [self.heads, -1])
        values = split_last(take_rows(value, graph.nearest), [self.heads, -1])
        scale = query.shape[-1] ** -0.5
        weights = torch.einsum("bhnc,bnkhc->bnkh", query, keys) * scale + bias
        weights = torch.softmax(weights.masked_fill(~graph.valid[..., None], -1e4), dim=2)
        weights = weights * graph.valid[..., None].to(weights.dtype)  # no neighbour at all: no message
        return torch.einsum("bnkh,bnkhc->bnhc", weights, values).flatten(2)


class CrossAttention(nn.Module):
    """Attention both ways between two images, with one projection for queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qk = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.ffn = _feed_forward(width)

    def forward(
        self, x0: Tensor, x1: Tensor, mask0: Tensor, mask1: Tensor, turns: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the features of both images after each has looked at the other.

        Args:
            x0: float32 (batch, n, width).
            x1: float32 (batch, m, width).
            mask0: bool (batch, n), False for padding.
            mask1: bool (batch, m).
            turns: of both images if their positions are comparable, else empty.
        """
        qk0, qk1 = self._split(self.to_qk(x0)), self._split(self.to_qk(x1))
        if len(turns) == 2:
            qk0, qk1 = turn(qk0, turns[0]), turn(qk1, turns[1])
        message0 = self._look(qk0, qk1, self._split(self.to_v(x1)), mask1)
        message1 = self._look(qk1, qk0, self._split(self.to_v(x0)), mask0)
        x0 = x0 + self.ffn(torch.cat([x0, self.to_out(message0)], dim=-1))
        x1 = x1 + self.ffn(torch.cat([x1, self.to_out(message1)], dim=-1))
        return x0, x1

    def _split(self, x: Tensor) -> Tensor:
        return split_last(x, [self.heads, -1]).transpose(1, 2)

    def _look(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        # A finite shift instead of -inf: with every key masked the answer stays finite and is dropped below.
        shift = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -1e4)[:, None, None]
        shift = shift.expand(-1, 1, query.shape[2], -1)
        message = F.scaled_dot_product_attention(query, key, value, attn_mask=shift)
        message = message * mask.any(dim=1)[:, None, None, None].to(message.dtype)
        return message.transpose(1, 2).flatten(2)
