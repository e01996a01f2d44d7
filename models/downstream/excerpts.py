"""Windows of labelled places: cut, turned and mirrored together with what is known of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.downstream.boxes import pad_boxes
from models.downstream.detection import BOXES, LABELS
from models.downstream.lessons import Batch, View
from models.downstream.segmentation import CLASSES, NOTHING

_LEAST_SHOWN = 0.3
"""Part of a box that a window must show for it to be looked for there."""


class Window(NamedTuple):
    """A part of an image, pixels; it may reach beyond it."""

    top: int
    left: int
    height: int
    width: int


def cut_window(place: Batch, window: Window) -> Batch:
    """Return a part of a place; beyond its rim nothing is known.

    Boxes are cut to the window; those of which it shows less than three tenths are left out.

    Args:
        place: a batch of one, its boxes (1, n, 4) and labels (1, n).
        window: in its pixels.
    """
    views = tuple(View(*(_cut(image, window, torch.nan) for image in view)) for view in place.views)
    return Batch(views, _cut_truth(place.truth, window))


def pad_truth(chip: Batch) -> Batch:
    """Return a chip whose boxes fill as many rows as every chip's do."""
    if BOXES not in chip.truth:
        return chip
    boxes, labels = pad_boxes(chip.truth[BOXES][0], chip.truth[LABELS][0])
    return Batch(chip.views, chip.truth | {BOXES: boxes[None], LABELS: labels[None]})


def spread_windows(shape: tuple[int, int], size: int) -> list[Window]:
    """Return windows side by side that cover an image; the last of a row may reach beyond it."""
    rows, columns = (range(0, side, size) for side in shape)
    return [Window(top, left, size, size) for top in rows for left in columns]


def halve(shape: tuple[int, int], part: str) -> Window:
    """Return the window of a half: left, right, top or bottom; ``whole`` is all of it."""
    height, width = shape
    return {
        "left": Window(0, 0, height, width // 2),
        "right": Window(0, width // 2, height, width - width // 2),
        "top": Window(0, 0, height // 2, width),
        "bottom": Window(height // 2, 0, height - height // 2, width),
    }.get(part, Window(0, 0, height, width))


def knows_something(chip: Batch) -> bool:
    """Say whether a chip teaches anything: an image that shows and a truth that is known somewhere."""
    seen = any(bool(image.isfinite().any()) for view in chip.views for image in view if image is not None)
    if BOXES in chip.truth:
        return seen
    known = [(one != NOTHING) & one.isfinite() for name, one in chip.truth.items()]
    return seen and all(bool(one.any()) for one in known)


def turn_chip(chip: Batch, turns: int, *, mirrored: bool) -> Batch:
    """Return a square chip turned to the left by quarters, then mirrored left to right if asked to."""
    side = next(image for image in chip.views[0] if image is not None).shape[3]

    def turn(layer: Tensor | None) -> Tensor | None:
        if layer is None:
            return None
        turned = torch.rot90(layer, turns, (-2, -1))
        return turned.flip(-1) if mirrored else turned

    def turn_truth(name: str, value: Tensor) -> Tensor:
        if name == LABELS:
            return value
        moved = _turn_boxes(value, turns, side, mirrored=mirrored) if name == BOXES else turn(value)
        assert moved is not None
        return moved

    views = tuple(View(turn(view.rgb), turn(view.sar)) for view in chip.views)
    return Batch(views, {name: turn_truth(name, value) for name, value in chip.truth.items()})


def _turn_boxes(boxes: Tensor, turns: int, side: int, *, mirrored: bool) -> Tensor:
    for _ in range(turns % 4):
        left, top, right, bottom = boxes.unbind(-1)
        boxes = torch.stack([top, side - right, bottom, side - left], dim=-1)
    if mirrored:
        left, top, right, bottom = boxes.unbind(-1)
        boxes = torch.stack([side - right, top, side - left, bottom], dim=-1)
    return boxes


def _cut_truth(truth: dict[str, Tensor], window: Window) -> dict[str, Tensor]:
    made = {}
    for name, value in truth.items():
        if name not in {BOXES, LABELS}:
            cut = _cut(value, window, NOTHING if name == CLASSES else torch.nan)
            assert cut is not None
            made[name] = cut
    if BOXES in truth:
        boxes, labels = _cut_boxes(truth[BOXES][0], truth[LABELS][0], window)
        made |= {BOXES: boxes[None], LABELS: labels[None]}
    return made


def _cut_boxes(boxes: Tensor, labels: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    moved = boxes - boxes.new_tensor([window.left, window.top] * 2)
    cut = torch.minimum(moved.clamp_min(0), boxes.new_tensor([window.width, window.height] * 2))
    shown, whole = ((one[:, 2:] - one[:, :2]).clamp_min(0).prod(dim=1) for one in (cut, moved))
    kept = (shown >= _LEAST_SHOWN * whole) & (shown > 0) & (labels >= 0)
    return cut[kept], labels[kept]


def _cut(layer: Tensor | None, window: Window, nothing: float) -> Tensor | None:
    if layer is None:
        return None
    bottom, right = window.top + window.height, window.left + window.width
    inside = layer[..., window.top : bottom, window.left : right]
    below, beside = window.height - inside.shape[-2], window.width - inside.shape[-1]
    return F.pad(inside, (0, beside, 0, below), value=nothing)
