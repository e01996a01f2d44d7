"""What the network learns by: true matches become likely, points without a counterpart say so."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.mapglue.network import BlockAnswer


def match_loss(answers: list[BlockAnswer], partner: Tensor, lonely0: Tensor, lonely1: Tensor) -> Tensor:
    """Return the negative log likelihood of the truth, averaged over the blocks.

    Matches and points without a counterpart weigh one half each, of the latter each image one half.

    Args:
        answers: of each block.
        partner: int64 (batch, n), the true partner in the second image; -1 for none or not known.
        lonely0: bool (batch, n), True for keypoints that certainly have none.
        lonely1: bool (batch, m), likewise in the second image.
    """
    losses = [_one_block(answer, partner, lonely0, lonely1) for answer in answers]
    return torch.stack(losses).mean()


def confidence_loss(answers: list[BlockAnswer]) -> Tensor:
    """Return how badly the blocks foresee whether their answer is the last block's; 0 for one block."""
    final0, final1 = (answers[-1].log_scores.argmax(dim=axis) for axis in (2, 1))
    losses = [answers[-1].log_scores.new_zeros(())]
    for answer in answers[:-1]:
        same0 = (answer.log_scores.argmax(dim=2) == final0).to(answer.confidence0.dtype)
        same1 = (answer.log_scores.argmax(dim=1) == final1).to(answer.confidence1.dtype)
        losses.append(F.binary_cross_entropy_with_logits(answer.confidence0, same0))
        losses.append(F.binary_cross_entropy_with_logits(answer.confidence1, same1))
    return torch.stack(losses).sum() / max(len(losses) - 1, 1)


def descriptor_loss(similarity: Tensor, valid: Tensor, near: Tensor) -> Tensor:
    """Return the cross entropy of telling each place's counterpart from all others, both ways.

    Args:
        similarity: float32 (batch, n, n), logits; the truth lies on the diagonal.
        valid: bool (batch, n), False for places that are left out.
        near: bool (batch, n, n): places too close to the truth to count as wrong.
    """
    truth = torch.eye(similarity.shape[1], device=similarity.device, dtype=torch.bool)
    out = (near & ~truth) | ~valid[:, None] | ~valid[:, :, None]
    logits = similarity.masked_fill(out & ~truth, -1e4)
    likely = 0.5 * (F.log_softmax(logits, dim=2) + F.log_softmax(logits, dim=1))
    return -masked_mean(torch.diagonal(likely, dim1=1, dim2=2), valid)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where the mask holds; 0 if it holds nowhere."""
    weight = mask.to(values.dtype)
    return (torch.where(mask, values, torch.zeros_like(values))).sum() / weight.sum().clamp_min(1)


def _one_block(answer: BlockAnswer, partner: Tensor, lonely0: Tensor, lonely1: Tensor) -> Tensor:
    chosen = torch.gather(answer.log_scores, 2, partner.clamp_min(0)[..., None])[..., 0]
    matched = -masked_mean(chosen, partner >= 0)
    alone = masked_mean(answer.log_unmatchable0, lonely0) + masked_mean(answer.log_unmatchable1, lonely1)
    return 0.5 * matched - 0.25 * alone
