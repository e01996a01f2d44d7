"""The matching network: blocks of dual-graph attention and cross attention, each able to answer."""

# No postponed annotations: TorchScript reads named tuples by their types.

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.mapglue.assignment import MatchAssignment, mutual_best
from models.mapglue.attention import CrossAttention, DualGraphAttention, RotaryPositions
from models.mapglue.config import MapGlueConfig
from models.mapglue.graph import plane_graph, semantic_graph
from models.mapglue.semantic import SemanticContext
from models.mapglue.side import Points, Side, drop_points, pick_pairs


class BlockAnswer(NamedTuple):
    """What the network would answer after one block.

    Attributes:
        log_scores: float32 (batch, n, m), at most 0.
        log_unmatchable0: float32 (batch, n).
        log_unmatchable1: float32 (batch, m).
        confidence0: float32 (batch, n), logits that the answer is final.
        confidence1: float32 (batch, m).
    """

    log_scores: Tensor
    log_unmatchable0: Tensor
    log_unmatchable1: Tensor
    confidence0: Tensor
    confidence1: Tensor


class TokenConfidence(nn.Module):
    """Tells of a keypoint whether further blocks would change its answer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Sequential(nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, n); the features learn nothing from this question."""
        logits: Tensor = self.token(x.detach())[..., 0]
        return logits


class FinalAnswer(nn.Module):
    """Stands where the last block's confidence would: nothing comes after it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (batch, n) of certainty."""
        return torch.full_like(x[..., 0], 100.0)


class GlueBlock(nn.Module):
    """One round: look at the own image's graphs, then at the other image."""

    def __init__(self, width: int, heads: int, aligned: bool) -> None:
        super().__init__()
        self.self_attn = DualGraphAttention(width, heads)
        self.cross_attn = CrossAttention(width, heads)
        self.aligned = aligned

    def forward(self, side0: Side, side1: Side) -> tuple[Tensor, Tensor]:
        """Return both images' new features."""
        x0 = self.self_attn(side0.x, side0.turns, side0.plane, side0.semantic)
        x1 = self.self_attn(side1.x, side1.turns, side1.plane, side1.semantic)
        turns = [side0.turns, side1.turns] if self.aligned else []
        answer: tuple[Tensor, Tensor] = self.cross_attn(x0, x1, side0.valid, side1.valid, turns)
        return answer


class GlueNetwork(nn.Module):
    """Matches two images' keypoints; the answer does not depend on their order or on padding."""

    def __init__(self, config: MapGlueConfig) -> None:
        super().__init__()
        glue = config.glue
        width = glue.width
        same = config.descriptor_width == width
        self.input_proj: nn.Module = nn.Identity() if same else nn.Linear(config.descriptor_width, width)
        self.context = SemanticContext(config.semantic_width, width)
        self.posenc = RotaryPositions(width // glue.heads)
        self.transformers = nn.ModuleList(
            [GlueBlock(width, glue.heads, glue.aligned) for _ in range(glue.blocks)]
        )
        self.log_assignment = nn.ModuleList(
            [MatchAssignment(width, glue.aligned) for _ in range(glue.blocks)]
        )
        doubts: list[nn.Module] = [TokenConfidence(width) for _ in range(glue.blocks - 1)]
        self.token_confidence = nn.ModuleList([*doubts, FinalAnswer()])
        self.neighbours = glue.neighbours
        self.threshold = glue.match_threshold
        self.exit_share = glue.exit_share
        self.prune_below = glue.prune_below
        # Early blocks must be surer than late ones before their answer is taken.
        self.sure = [0.8 + 0.1 * math.exp(-4.0 * i / glue.blocks) for i in range(glue.blocks)]

    def forward(self, points0: Points, points1: Points) -> tuple[Tensor, Tensor]:
        """Return each first image's keypoint's partner and score.

        A pair leaves as soon as enough of its points are sure; points that will not match leave before.

        Returns:
            Rows of the second image, int64 (batch, n), -1 for none; scores float32 (batch, n), 0 to 1.
        """
        side0, side1 = self.enter(points0), self.enter(points1)
        partner = torch.full_like(side0.rows, -1)
        scores = torch.zeros_like(side0.positions[..., 0])
        pairs = torch.arange(partner.shape[0], device=partner.device)
        parts = zip(self.transformers, self.log_assignment, self.token_confidence)  # noqa: B905 (TorchScript)
        for i, (block, assign, doubt) in enumerate(parts):
            if pairs.numel() > 0:
                x0, x1 = block(side0, side1)
                side0, side1 = with_features(side0, x0), with_features(side1, x1)
                last = i == len(self.sure) - 1
                sure0, sure1 = (
                    torch.sigmoid(doubt(x0)) > self.sure[i],
                    torch.sigmoid(doubt(x1)) > self.sure[i],
                )
                done = self._finished(side0.valid, side1.valid, sure0, sure1) | last
                answered, rest = torch.nonzero(done)[:, 0], torch.nonzero(~done)[:, 0]
                if answered.numel() > 0:
                    ready0, ready1 = pick_pairs(side0, answered), pick_pairs(side1, answered)
                    distance = squared_distance(ready0.positions, ready1.positions)
                    log_scores = assign(ready0.x, ready1.x, ready0.valid, ready1.valid, distance)
                    self._write(partner, scores, pairs[answered], ready0, ready1, log_scores)
                if not last and self.prune_below > 0:
                    keep0 = (assign.log_matchable(side0.x)[0].exp() > self.prune_below) | ~sure0  # type: ignore[operator]
                    keep1 = (assign.log_matchable(side1.x)[0].exp() > self.prune_below) | ~sure1  # type: ignore[operator]
                    side0, side1 = drop_points(side0, keep0), drop_points(side1, keep1)
                if answered.numel() > 0:
                    pairs = pairs[rest]
                    side0, side1 = pick_pairs(side0, rest), pick_pairs(side1, rest)
        return partner, scores

    @torch.jit.unused
    def answers(self, points0: Points, points1: Points) -> list[BlockAnswer]:
        """Return what each block would answer, for training; nobody leaves."""
        side0, side1 = self.enter(points0), self.enter(points1)
        answers: list[BlockAnswer] = []
        parts = zip(self.transformers, self.log_assignment, self.token_confidence, strict=True)
        for block, assign, doubt in parts:
            x0, x1 = block(side0, side1)
            side0, side1 = with_features(side0, x0), with_features(side1, x1)
            distance = squared_distance(side0.positions, side1.positions)
            scores = assign(x0, x1, side0.valid, side1.valid, distance)
            lonely0, lonely1 = assign.log_matchable(x0)[1], assign.log_matchable(x1)[1]  # type: ignore[operator]
            answers.append(BlockAnswer(scores, lonely0, lonely1, doubt(x0), doubt(x1)))
        return answers

    def enter(self, points: Points) -> Side:
        """Return keypoints with their graphs, their context and their turns."""
        positions = points.positions
        x = self.context(self.input_proj(points.descriptors), points.semantic)
        rows = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
        plane = plane_graph(positions, points.valid, self.neighbours)
        alike = semantic_graph(points.semantic, positions, points.valid, self.neighbours)
        return Side(x, positions, self.posenc(positions), plane, alike, points.valid, rows)

    def _finished(self, valid0: Tensor, valid1: Tensor, sure0: Tensor, sure1: Tensor) -> Tensor:
        if self.exit_share <= 0:
            return torch.zeros_like(valid0[:, 0])
        sure = (sure0 & valid0).sum(dim=1) + (sure1 & valid1).sum(dim=1)
        return sure > self.exit_share * (valid0.sum(dim=1) + valid1.sum(dim=1))

    def _write(
        self, partner: Tensor, scores: Tensor, pairs: Tensor, side0: Side, side1: Side, log_scores: Tensor
    ) -> None:
        column, score = mutual_best(log_scores, self.threshold)
        known = torch.gather(side1.rows, 1, column.clamp_min(0))
        found = torch.where(column >= 0, known, torch.full_like(known, -1))
        # Rows of padding repeat no point that stayed, but may name one that left: it keeps its -1.
        at = pairs[:, None].expand_as(found)[side0.valid], side0.rows[side0.valid]
        partner.index_put_(at, found[side0.valid])
        scores.index_put_(at, torch.where(column >= 0, score, torch.zeros_like(score))[side0.valid])


def with_features(side: Side, x: Tensor) -> Side:
    """Return a side with new features."""
    return Side(x, side.positions, side.turns, side.plane, side.semantic, side.valid, side.rows)


def squared_distance(positions0: Tensor, positions1: Tensor) -> Tensor:
    """Return float32 (batch, n, m) of positions (batch, n, 2) and (batch, m, 2)."""
    between = positions0[:, :, None] - positions1[:, None]
    return (between**2).sum(dim=-1)
