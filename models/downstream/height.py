"""How high buildings and trees stand above the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.downstream.before_after import has_roofs
from models.downstream.heads import MapHead
from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    cut_chips,
    find_place,
    show_both,
)
from models.downstream.task import Figures, Predict
from models.scores.regression import score_regression

HEIGHT = "height_m"
"""The truth's entry: float32 (batch, 1, height, width), 0 on the ground, NaN where nobody knows."""
_UNIT_M = 5.0
_CALM = 1.0


@dataclass(frozen=True)
class HeightTask:
    """Heights from an optical and a radar image. A pixel of a drawn place is a metre.

    Attributes:
        name: the word it is asked for by.
        title: what goes in and what comes out.
        headline: the figure in tables.
        trivial_name: what the trivial answer is.
    """

    name: str = "height"
    title: str = "Heights of buildings and trees from optical and SAR, metres"
    headline: str = "rmse_m"
    trivial_name: str = "the mean height"

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Make four chips of one built-up place."""
        scenes = find_place(config, draws, has_roofs)
        views = (show_both(scenes, draws.generator),)
        return Batch(views, {HEIGHT: cut_chips(scenes.object_px).clamp_min(0).float()})

    def make_head(self, width: int) -> nn.Module:
        """Return a head that gives heights in units of 5 m, (batch, 1, height, width)."""
        return MapHead(width, 1)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the squared error of low, the absolute error of high misses."""
        truth = batch.truth[HEIGHT] / _UNIT_M
        known = truth.isfinite()
        off = F.smooth_l1_loss(output.float(), torch.where(known, truth, 0.0), beta=_CALM, reduction="none")
        error = (off * known).sum() / known.sum().clamp_min(1)
        return error, {"height": error}

    def answer(self, output: Tensor) -> NDArray[np.float32]:
        """Return heights, metres, float32 (batch, 1, height, width), none below the ground."""
        heights: NDArray[np.float32] = (_UNIT_M * output.float()).clamp_min(0).cpu().numpy()
        return heights

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return the lessons' mean height everywhere."""
        heights = torch.cat([lesson.truth[HEIGHT].flatten() for lesson in lessons]).double()
        mean = float(heights[heights.isfinite()].mean())
        return lambda batch: np.full(batch.truth[HEIGHT].shape, mean, np.float32)

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Return errors in metres, and the share of what is above 1 m that is right within a quarter."""
        truth = np.concatenate([batch.truth[HEIGHT].cpu().numpy() for batch in batches])
        scores = score_regression(truth, np.concatenate([predict(batch) for batch in batches]))
        return {
            "score": -scores.rmse,
            "rmse_m": scores.rmse,
            "mae_m": scores.mae,
            "delta1": float(np.nan_to_num(scores.deltas[0])),
        }


HEIGHTS = HeightTask()
