"""Boxes from a map of middles and sides, and what such a map is to be made better by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.downstream.heads import STRIDE

MOST_BOXES = 64
"""Of a chip that are learned from."""
MOST_FOUND = 100
_SPREAD = 0.16
_LEAST_SPREAD = 0.45
_LEARNED = 0.4
_TINY = 1e-6


@dataclass(frozen=True)
class FoundBoxes:
    """The boxes of one chip, best first.

    Attributes:
        boxes_xyxy: float32 (n, 4), left, top, right, bottom in pixels' edges.
        labels: int64 (n,).
        scores: float32 (n,), 0 to 1.
    """

    boxes_xyxy: Tensor
    labels: Tensor
    scores: Tensor


def pad_boxes(boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes (64, 4) and labels (64,), the largest ones; −1 labels rows that hold none."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    order = areas.argsort(descending=True, stable=True)[:MOST_BOXES]
    short = MOST_BOXES - len(order)
    return F.pad(boxes[order], (0, 0, 0, short)), F.pad(labels[order], (0, short), value=-1)


def box_loss(output: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return how wrong the middles are, and how wrong the sides around them.

    Args:
        output: (batch, classes + 4, height, width) of cells: logits, and sides in cells.
        boxes: float32 (batch, n, 4), pixels' edges.
        labels: int64 (batch, n), −1 for rows that hold none.

    Source: middles by Zhou et al., Objects as Points, 2019, arXiv:1904.07850; overlap by Rezatofighi et al.,
    CVPR 2019, arXiv:1902.09630.
    """
    classes = output.shape[1] - 4
    bumps = _bumps(boxes / STRIDE, labels, (output.shape[2], output.shape[3]))
    wanted = torch.stack(
        [torch.where((labels == one)[..., None, None], bumps, 0.0).amax(dim=1) for one in range(classes)], 1
    )
    middles = _middle_loss(output[:, :classes].float(), wanted)
    strength, owner = bumps.max(dim=1)
    true = torch.gather(boxes / STRIDE, 1, owner.flatten(1)[..., None].expand(-1, -1, 4))
    found = _edges(output[:, classes:].float()).flatten(2).transpose(1, 2)
    weight = torch.where(strength > _LEARNED, strength, 0.0).flatten(1)
    apart = 1 - _generous_overlap(found, true)
    return middles, (apart * weight).sum() / weight.sum().clamp_min(1)


def find_boxes(output: Tensor) -> list[FoundBoxes]:
    """Return the boxes around the middles that stand above their neighbours, at most 100 of a chip."""
    classes = output.shape[1] - 4
    heat = output[:, :classes].float().sigmoid()
    peaks = torch.where(heat == F.max_pool2d(heat, 3, stride=1, padding=1), heat, 0.0).flatten(1)
    edges = (STRIDE * _edges(output[:, classes:].float())).flatten(2).transpose(1, 2)
    size = output.shape[2] * output.shape[3]
    limits = edges.new_tensor([output.shape[3], output.shape[2]] * 2) * STRIDE
    scores, places = peaks.topk(min(MOST_FOUND, peaks.shape[1]), dim=1)
    found = []
    for chip in range(len(output)):
        kept = scores[chip] > 0
        rows = places[chip][kept]
        boxes = torch.minimum(edges[chip, rows % size].clamp_min(0), limits)
        found.append(FoundBoxes(boxes.cpu(), (rows // size).cpu(), scores[chip][kept].cpu()))
    return found


def _cell_middles(shape: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5 for side in shape)
    return columns.expand(shape), rows[:, None].expand(shape)


def _bumps(boxes: Tensor, labels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a bump of 1 at the cell of each box's middle, (batch, n, height, width)."""
    x, y = _cell_middles(shape, boxes)
    middle, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    limit = middle.new_tensor([shape[1] - 1, shape[0] - 1])
    middle = torch.minimum(middle.floor().clamp_min(0), limit) + 0.5
    spread = (_SPREAD * sides).clamp_min(_LEAST_SPREAD)[..., None, None]
    off_x = (x - middle[..., 0, None, None]) / spread[:, :, 0]
    off_y = (y - middle[..., 1, None, None]) / spread[:, :, 1]
    return torch.exp(-(off_x.square() + off_y.square()) / 2) * (labels >= 0)[..., None, None]


def _middle_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the focal loss: what is right already counts little, and so does what is near a middle."""
    part = logits.sigmoid()
    at_middle = wanted >= 1
    right = -F.logsigmoid(logits) * (1 - part).square()
    wrong = -F.logsigmoid(-logits) * part.square() * (1 - wanted) ** 4
    return torch.where(at_middle, right, wrong).sum() / at_middle.sum().clamp_min(1)


def _edges(sides: Tensor) -> Tensor:
    """Return left, top, right, bottom in cells, of distances (batch, 4, height, width) from middles."""
    x, y = _cell_middles((sides.shape[2], sides.shape[3]), sides)
    return torch.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], dim=1)


def _generous_overlap(found: Tensor, true: Tensor) -> Tensor:
    """Return the overlap, less the part of the box around both that neither covers: −1 to 1."""
    inner = torch.minimum(found[..., 2:], true[..., 2:]) - torch.maximum(found[..., :2], true[..., :2])
    outer = torch.maximum(found[..., 2:], true[..., 2:]) - torch.minimum(found[..., :2], true[..., :2])
    shared, around = inner.clamp_min(0).prod(-1), outer.prod(-1)
    both = (found[..., 2:] - found[..., :2]).prod(-1) + (true[..., 2:] - true[..., :2]).prod(-1) - shared
    return shared / (both + _TINY) - (around - both) / (around + _TINY)
