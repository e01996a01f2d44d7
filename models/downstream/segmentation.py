"""What every pixel is: land cover, roads, changes and damage differ in what they see and in their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.downstream.heads import MapHead
from models.downstream.lessons import Batch, LessonConfig, Place, PlaceDraws
from models.downstream.task import Figures, Predict
from models.scores.segmentation import SegmentationScores, count_confusion, score_confusion

CLASSES = "classes"
"""The truth's entry: int64 (batch, height, width)."""
NOTHING = -1
"""A pixel of the truth that says nothing."""
_OVERLAP_SHARE = 1.0
_MOST_WEIGHT = 10.0


@dataclass(frozen=True)
class SegmentationTask:
    """A class for every pixel.

    Attributes:
        name: the word it is asked for by.
        title: what goes in and what comes out.
        headline: the figure in tables.
        classes: their names, the background first where there is one.
        views: how many a batch has.
        make_place: draws chips and the truth.
        figures: what is said of the table of counts; ``score`` among them.
        shown: by which of their images chips are looked at once more: mapping with one of them missing.
    """

    name: str
    title: str
    headline: str
    classes: tuple[str, ...]
    views: int
    make_place: Place
    figures: Callable[[SegmentationScores], Figures]
    shown: Mapping[str, Callable[[Batch], Batch]]

    @property
    def trivial_name(self) -> str:
        """What the trivial answer is."""
        return f"all {self.classes[1]}" if self.figures is tell_second else "the commonest class"

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Make four chips of one drawn place."""
        return self.make_place(config, draws)

    def make_head(self, width: int) -> nn.Module:
        """Return a head that gives logits, (batch, classes, height, width)."""
        return MapHead(width, len(self.classes), views=self.views)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return cross entropy, rare classes weighing more, and how far each class is from overlapping."""
        truth = batch.truth[CLASSES]
        weight = _weigh_classes(truth, len(self.classes))
        entropy = F.cross_entropy(output.float(), truth, weight, ignore_index=NOTHING)
        overlap = _overlap_loss(output.float().softmax(dim=1), truth)
        return entropy + _OVERLAP_SHARE * overlap, {"entropy": entropy, "overlap": overlap}

    def answer(self, output: Tensor) -> NDArray[np.int64]:
        """Return the likeliest class, int64 (batch, height, width)."""
        likeliest: NDArray[np.int64] = output.argmax(dim=1).cpu().numpy()
        return likeliest

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return one class everywhere: the second where only its overlap counts, else the commonest."""
        truth = torch.cat([lesson.truth[CLASSES].flatten() for lesson in lessons])
        counts = torch.bincount(truth[truth >= 0], minlength=len(self.classes))
        chosen = 1 if self.figures is tell_second else int(counts.argmax())
        return lambda batch: np.full(batch.truth[CLASSES].shape, chosen, np.int64)

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Return the figures over all pixels of all batches together."""
        told = self.figures(self._score(predict, batches))
        for name, show in self.shown.items():
            seen = self._score(predict, [show(batch) for batch in batches])
            told[name] = seen.mean_iou
        if self.shown:
            told["score"] = told[self.headline]
        return told

    def _score(self, predict: Predict, batches: Sequence[Batch]) -> SegmentationScores:
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        for batch in batches:
            truth = batch.truth[CLASSES].cpu().numpy()
            counts += count_confusion(truth, predict(batch), len(self.classes), ignored=NOTHING)
        return score_confusion(counts)


def _weigh_classes(truth: Tensor, classes: int) -> Tensor:
    """Return one over the root of each class's share: else rare ones are learned to be absent."""
    counts = torch.stack([(truth == one).sum() for one in range(classes)]).float()
    return (counts.sum().clamp_min(1) / counts.clamp_min(1)).sqrt().clamp(max=_MOST_WEIGHT)


def _overlap_loss(parts: Tensor, truth: Tensor) -> Tensor:
    """Return one minus the soft overlap, averaged over the classes that are there.

    Source: Milletari et al., V-Net, 3DV 2016, arXiv:1606.04797.
    """
    known = (truth != NOTHING)[:, None]
    wanted = F.one_hot(truth.clamp_min(0), parts.shape[1]).permute(0, 3, 1, 2) * known
    parts = parts * known
    shared = (parts * wanted).sum(dim=(0, 2, 3))
    both = parts.sum(dim=(0, 2, 3)) + wanted.sum(dim=(0, 2, 3))
    there = wanted.sum(dim=(0, 2, 3)) > 0
    apart = 1 - 2 * shared / both.clamp_min(1)
    return (apart * there).sum() / there.sum().clamp_min(1)


def tell_mean(scores: SegmentationScores) -> Figures:
    """Return the mean overlap of all classes."""
    return {"score": scores.mean_iou, "miou": scores.mean_iou, "accuracy": scores.accuracy}


def tell_second(scores: SegmentationScores) -> Figures:
    """Return the overlap of the second class of two; a class that is nowhere has none."""
    iou, f1 = (float(np.nan_to_num(values[1])) for values in (scores.iou, scores.f1))
    return {"score": iou, "iou": iou, "f1": f1}


def tell_f1(scores: SegmentationScores) -> Figures:
    """Return the mean F1 of all classes, and of all but the background; 0 where there is none of these."""
    buildings = scores.f1[1:][~np.isnan(scores.f1[1:])]
    return {
        "score": scores.mean_f1,
        "f1": scores.mean_f1,
        "f1_buildings": float(buildings.mean()) if buildings.size else 0.0,
        "miou": scores.mean_iou,
    }
