"""Who belongs to whom: a double softmax over similarities, weighed by how matchable both ends are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MatchAssignment(nn.Module):
    """Similarities and matchabilities of two images' keypoints as log assignment scores."""

    def __init__(self, width: int, aligned: bool) -> None:
        super().__init__()
        self.final_proj = nn.Linear(width, width)
        self.matchability = nn.Linear(width, 1)
        self.aligned = aligned
        nearness = torch.tensor(2.0)  # log of how fast similarity falls with distance, in positions' units
        if aligned:
            self.nearness = nn.Parameter(nearness)
        else:
            self.register_buffer("nearness", nearness, persistent=False)

    def forward(self, x0: Tensor, x1: Tensor, mask0: Tensor, mask1: Tensor, between: Tensor) -> Tensor:
        """Return log scores, float32 (batch, n, m), at most 0.

        Args:
            x0: float32 (batch, n, width).
            x1: float32 (batch, m, width).
            mask0: bool (batch, n), False for padding.
            mask1: bool (batch, m).
            between: float32 (batch, n, m), squared distance of positions; read only if ``aligned``.
        """
        scale = x0.shape[-1] ** -0.25
        similarity = (self.final_proj(x0) * scale) @ (self.final_proj(x1) * scale).transpose(1, 2)
        if self.aligned:
            similarity = similarity - torch.exp(self.nearness) * between
        ready0, ready1 = F.logsigmoid(self.matchability(x0)), F.logsigmoid(self.matchability(x1))
        return double_softmax(similarity, mask0, mask1) + ready0 + ready1.transpose(1, 2)

    def log_matchable(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logs of how likely keypoints have and have not a counterpart, both (batch, n)."""
        logit = self.matchability(x)[..., 0]
        return F.logsigmoid(logit), F.logsigmoid(-logit)


def double_softmax(similarity: Tensor, mask0: Tensor, mask1: Tensor) -> Tensor:
    """Return log(softmax along rows × softmax along columns); rows and columns sum to at most 1.

    Args:
        similarity: float32 (batch, n, m).
        mask0: bool (batch, n), False for padding, whose scores are 0 (-inf in log, cut at -1e4).
        mask1: bool (batch, m).
    """
    pairs = mask0[:, :, None] & mask1[:, None]
    similarity = similarity.masked_fill(~pairs, -1e4)
    both = F.log_softmax(similarity, dim=2) + F.log_softmax(similarity, dim=1)
    return both.masked_fill(~pairs, -1e4)


def mutual_best(log_scores: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return each row's partner and score.

    Args:
        log_scores: float32 (batch, n, m).
        threshold: scores below this are no matches.

    Returns:
        The partner's column, int64 (batch, n), -1 where row and column are not each other's best or the
        score is too low; the score float32 (batch, n), 0 to 1.
    """
    if log_scores.shape[1] == 0 or log_scores.shape[2] == 0:
        shape = [log_scores.shape[0], log_scores.shape[1]]
        none = torch.full(shape, -1, dtype=torch.int64, device=log_scores.device)
        return none, torch.zeros(shape, dtype=log_scores.dtype, device=log_scores.device)
    best, column = log_scores.max(dim=2)
    row = log_scores.max(dim=1).indices
    places = torch.arange(log_scores.shape[1], device=log_scores.device)
    scores = best.exp()
    matched = (torch.gather(row, 1, column) == places) & (scores > threshold)
    return torch.where(matched, column, torch.full_like(column, -1)), scores
