"""Boxes against the truth: average precision by the rules of the COCO benchmark.

Detections are taken in the order of their scores. Each takes the free true box it overlaps most, if by
enough; precision at 101 recalls, made to fall, is averaged over the recalls, ten overlaps and all classes.
Checked in the tests against hand cases and closed forms.

Source: Lin et al., Microsoft COCO, ECCV 2014, and the description of its evaluation at cocodataset.org.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

OVERLAPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100
"""Of an image and a class that count, best first."""
AREAS_PX = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class TrueBoxes:
    """The boxes that an image holds.

    Attributes:
        boxes_xyxy: float64 (n, 4), left, top, right, bottom in pixels' edges.
        labels: int64 (n,), the class.
        crowd: bool (n,), a box around many objects: detections within it count neither way. None for none.
    """

    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Detections:
    """The boxes that a detector found in an image.

    Attributes:
        boxes_xyxy: float64 (n, 4), likewise.
        labels: int64 (n,).
        scores: float64 (n,), higher is surer; in any order.
    """

    boxes_xyxy: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class DetectionScores:
    """What COCO says of a detector; parts of 1, NaN where there is no true box to find.

    Attributes:
        ap: average precision over the overlaps 0.50 to 0.95.
        ap50: at an overlap of 0.50.
        ap75: at 0.75.
        recall: highest recall with 100 detections an image, over the overlaps.
        ap_by_area: for small (below 32² px), medium and large (from 96² px) boxes.
    """

    ap: float
    ap50: float
    ap75: float
    recall: float
    ap_by_area: dict[str, float] = field(default_factory=dict)


def overlap_boxes(
    found: NDArray[np.float64], true: NDArray[np.float64], crowd: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Return the area shared by boxes over the area of both together, (found, true).

    Where the true box is a crowd, over the found box's area alone.
    """
    corner = np.maximum(found[:, None, :2], true[None, :, :2])
    sides = np.clip(np.minimum(found[:, None, 2:], true[None, :, 2:]) - corner, 0, None)
    shared = sides[..., 0] * sides[..., 1]
    alone = _areas(found)[:, None]
    together = alone + _areas(true)[None] - shared
    if crowd is not None:
        together = np.where(crowd[None], alone, together)
    part: NDArray[np.float64] = np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)
    return part


def score_detections(truths: Sequence[TrueBoxes], found: Sequence[Detections]) -> DetectionScores:
    """Measure a detector on images, all together.

    Args:
        truths: one per image.
        found: likewise, in the same order.

    Raises:
        InputError: not as many of one as of the other, arrays that do not fit, or a number that is none.
    """
    if len(truths) != len(found):
        raise InputError(f"{len(found)} answers stand against {len(truths)} images; expected as many.")
    for number, (truth, answer) in enumerate(zip(truths, found, strict=True)):
        _check(f"the true boxes of image {number}", truth.boxes_xyxy, truth.labels, truth.crowd)
        _check(f"the detections of image {number}", answer.boxes_xyxy, answer.labels, answer.scores)
    labels = sorted({int(label) for truth in truths for label in truth.labels})
    tables = {
        name: [_score_class(truths, found, label, span) for label in labels]
        for name, span in AREAS_PX.items()
    }
    precision = {name: _mean([table[0] for table in rows]) for name, rows in tables.items()}
    recall = _mean([table[1] for table in tables["all"]])
    return DetectionScores(
        ap=float(np.mean(precision["all"])),
        ap50=float(precision["all"][OVERLAPS.index(0.5)]),
        ap75=float(precision["all"][OVERLAPS.index(0.75)]),
        recall=float(np.mean(recall)),
        ap_by_area={name: float(np.mean(precision[name])) for name in AREAS_PX if name != "all"},
    )


def _mean(rows: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """Average classes that have something to find, (overlaps,)."""
    known = [row for row in rows if row is not None]
    return np.mean(known, axis=0) if known else np.full(len(OVERLAPS), np.nan)


def _score_class(
    truths: Sequence[TrueBoxes], found: Sequence[Detections], label: int, span: tuple[float, float]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Return average precision and highest recall of a class, (overlaps,) each; None with nothing to find."""
    images = [_match_image(*pair, label, span) for pair in zip(truths, found, strict=True)]
    wanted = sum(image.wanted for image in images)
    if not wanted:
        return None, None
    scores = np.concatenate([image.scores for image in images])
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([image.hits for image in images], axis=1)[:, order]
    counted = ~np.concatenate([image.ignored for image in images], axis=1)[:, order]
    curves = [_curve(hit[kept], wanted) for hit, kept in zip(hits, counted, strict=True)]
    return np.array([area for area, _ in curves]), np.array([recall for _, recall in curves])


def _curve(hits: NDArray[np.bool_], wanted: int) -> tuple[float, float]:
    """Return the mean precision over the 101 recalls, and the last recall."""
    if not len(hits):
        return 0.0, 0.0
    right = np.cumsum(hits)
    recall, precision = right / wanted, right / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    reached = places < len(falling)
    return float(np.where(reached, falling[np.minimum(places, len(falling) - 1)], 0.0).mean()), float(
        recall[-1]
    )


@dataclass(frozen=True)
class _ImageMatches:
    """One image and class: scores (n,), hits and ignored (overlaps, n), and how many are to be found."""

    scores: NDArray[np.float64]
    hits: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    wanted: int


def _match_image(truth: TrueBoxes, found: Detections, label: int, span: tuple[float, float]) -> _ImageMatches:
    rows = np.flatnonzero(found.labels == label)
    best = rows[np.argsort(-found.scores[rows], kind="stable")[:MAX_DETECTIONS]]
    boxes, scores = found.boxes_xyxy[best], found.scores[best]
    columns = np.flatnonzero(truth.labels == label)
    true, crowd = truth.boxes_xyxy[columns], np.zeros(len(columns), np.bool_)
    if truth.crowd is not None:
        crowd = truth.crowd[columns]
    aside = crowd | _beyond(true, span)
    order = np.argsort(aside, kind="stable")  # those that count are offered first
    true, crowd, aside = true[order], crowd[order], aside[order]
    overlaps = overlap_boxes(boxes, true, crowd)
    taken = np.stack([_assign(overlaps, crowd, aside, least) for least in OVERLAPS])
    matched = taken >= 0
    at_aside = matched & aside[taken] if len(true) else matched
    ignored = at_aside | (~matched & _beyond(boxes, span)[None])
    return _ImageMatches(scores, matched & ~at_aside, ignored, int((~aside).sum()))


def _assign(
    overlaps: NDArray[np.float64], crowd: NDArray[np.bool_], aside: NDArray[np.bool_], least: float
) -> NDArray[np.int64]:
    """Return which true box each detection takes, −1 for none; a crowd may be taken many times."""
    taken = np.full(len(overlaps), -1, np.int64)
    free = np.ones(overlaps.shape[1], np.bool_)
    for row, shares in enumerate(overlaps):
        for group in (~aside, aside):  # one that counts is taken before any that is set aside
            usable = np.flatnonzero(group & (free | crowd) & (shares >= min(least, 1 - 1e-10)))
            if len(usable):
                # Of equals the last, as in the benchmark's own program.
                taken[row] = usable[len(usable) - 1 - int(np.argmax(shares[usable][::-1]))]
                free[taken[row]] = False
                break
    return taken


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _beyond(boxes: NDArray[np.float64], span: tuple[float, float]) -> NDArray[np.bool_]:
    areas = _areas(boxes)
    return (areas < span[0]) | (areas > span[1])


def _check(what: str, boxes: NDArray[np.float64], *columns: NDArray[np.generic] | None) -> None:
    lengths = {len(column) for column in columns if column is not None}
    if boxes.ndim != 2 or boxes.shape[1] != 4 or lengths - {len(boxes)}:
        raise InputError(
            f"{what} have boxes of shape {boxes.shape} and {sorted(lengths)} values beside them; expected "
            "(n, 4) and n."
        )
    if not np.isfinite(boxes).all() or not (boxes[:, 2:] >= boxes[:, :2]).all():
        raise InputError(f"{what} hold a box not finite or turned; expected left, top, right, bottom.")
    floats = [column for column in columns if column is not None and column.dtype.kind == "f"]
    if not all(np.isfinite(column).all() for column in floats):
        raise InputError(f"{what} hold a score that is not finite.")
