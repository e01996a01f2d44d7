"""Tasks that ask for boxes: targets in SAR, and buildings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.downstream.boxes import FoundBoxes, box_loss, find_boxes
from models.downstream.heads import BoxHead
from models.downstream.lessons import Batch, LessonConfig, Place, PlaceDraws
from models.downstream.task import Figures, Predict
from models.scores.detection import Detections, TrueBoxes, score_detections

BOXES, LABELS = "boxes_xyxy", "labels"
"""The truth's entries: float32 (batch, 64, 4), and int64 (batch, 64), −1 for rows that hold no box."""
_WINDOW_PX = 5
_AROUND_PX = 21


@dataclass(frozen=True)
class DetectionTask:
    """Boxes around objects of some classes.

    Attributes:
        name: the word it is asked for by.
        title: what goes in and what comes out.
        classes: of objects.
        make_place: draws chips and the truth.
        brightness: what the trivial answer looks for bright spots in, (batch, 1, height, width).
        headline: the figure in tables.
        trivial_name: what the trivial answer is.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    make_place: Place
    brightness: Callable[[Batch], Tensor]
    headline: str = "ap"
    trivial_name: str = "bright spots, boxes of the mean size"

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Make four chips of one drawn place."""
        return self.make_place(config, draws)

    def make_head(self, width: int) -> nn.Module:
        """Return a head that gives middles and sides."""
        return BoxHead(width, len(self.classes))

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return how wrong middles and sides are."""
        middles, sides = box_loss(output, batch.truth[BOXES], batch.truth[LABELS])
        return middles + sides, {"middles": middles, "sides": sides}

    def answer(self, output: Tensor) -> list[FoundBoxes]:
        """Return the boxes of every chip."""
        return find_boxes(output)

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return boxes of the lessons' mean size around what is brighter than its surroundings."""
        boxes = torch.cat([lesson.truth[BOXES][lesson.truth[LABELS] >= 0] for lesson in lessons])
        half = (boxes[:, 2:] - boxes[:, :2]).mean(dim=0) / 2 if len(boxes) else torch.ones(2)
        return lambda batch: [_find_bright(image, half) for image in self.brightness(batch).cpu()]

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Return COCO's figures over all chips together; 0 where there is nothing to find."""
        truths: list[TrueBoxes] = []
        found: list[Detections] = []
        for batch in batches:
            boxes, labels = (batch.truth[name].cpu() for name in (BOXES, LABELS))
            truths += [_true_boxes(*pair) for pair in zip(boxes, labels, strict=True)]
            found += [_detections(one) for one in predict(batch)]
        scores = score_detections(truths, found)
        told = {
            "score": scores.ap,
            "ap": scores.ap,
            "ap50": scores.ap50,
            "ap75": scores.ap75,
            "recall": scores.recall,
        }
        return {name: float(np.nan_to_num(value)) for name, value in told.items()}


def _true_boxes(boxes: Tensor, labels: Tensor) -> TrueBoxes:
    kept = labels >= 0
    return TrueBoxes(boxes[kept].double().numpy(), labels[kept].numpy())


def _detections(found: FoundBoxes) -> Detections:
    return Detections(found.boxes_xyxy.double().numpy(), found.labels.numpy(), found.scores.double().numpy())


def _find_bright(image: Tensor, half: Tensor) -> FoundBoxes:
    """Return boxes around the spots that stand out most, as a detector of constant false alarms has them.

    Args:
        image: (1, height, width).
        half: half the width and height of every box, pixels.
    """
    near, far = (
        F.avg_pool2d(image, window, stride=1, padding=window // 2, count_include_pad=False)
        for window in (_WINDOW_PX, _AROUND_PX)
    )
    out = near - far
    peaks = torch.where(out == F.max_pool2d(out, 7, stride=1, padding=3), out.clamp_min(0), 0.0)[0]
    scores, places = peaks.flatten().topk(50)
    middle = torch.stack([places % image.shape[2], places // image.shape[2]], dim=1) + 0.5
    kept = scores > 0
    boxes = torch.cat([middle - half, middle + half], dim=1)[kept]
    return FoundBoxes(boxes, torch.zeros(len(boxes), dtype=torch.int64), scores[kept])
