"""Tie points between an optical and a radar image, from descriptions of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.downstream.descriptors import match_descriptors, sample_cells
from models.downstream.heads import STRIDE, DescriptorHead
from models.downstream.lessons import (
    Batch,
    LessonConfig,
    PlaceDraws,
    View,
    cut_chips,
    find_place,
    show_day,
    show_radar,
)
from models.downstream.task import Figures, Predict
from models.matching.estimate import estimate_transform
from models.matching.matches import Matches
from models.matching.metrics import area_under_curve, measure_corner_error, measure_precision
from models.matching.sift import IdentityMatcher
from models.matching.transforms import invert
from models.matching.warps import WarpLevel, draw_warp

TRANSFORM = "fixed_from_moving"
"""The truth's entry: float64 (batch, 3, 3), pixels."""
_WARP = WarpLevel(rotation_deg=12.0, shift=0.4, scale=(0.95, 1.05))
_SIZE = 48
_TEMPERATURE = 0.07
_NEAR_PX = 6.0
_LIMITS_PX = (5.0, 10.0)
_MOST_PX = 50.0


@dataclass(frozen=True)
class RegistrationTask:
    """Where places of an optical image lie in a radar image.

    Attributes:
        name: the word it is asked for by.
        title: what goes in and what comes out.
        headline: the figure in tables.
        trivial_name: what the trivial answer is.
    """

    name: str = "registration"
    title: str = "Tie points between an optical and a SAR image, turned and shifted"
    headline: str = "auc_10px"
    trivial_name: str = "as the images lie"

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Show four parts of a place by day and, warped, to a radar."""
        scenes = find_place(config, draws)
        day, radar = show_day(scenes, draws.generator), show_radar(scenes, draws.generator)
        size = config.size_px
        warps = [draw_warp(_WARP, (size, size), draws.generator) for _ in range(4)]
        truth = torch.from_numpy(np.stack([invert(warp) for warp in warps]))
        corners = torch.tensor([[0, 0], [size, 0], [0, size], [size, size]], dtype=torch.float64)
        moving = resample_parts(radar, truth, corners, size)
        return Batch(
            (
                View(standardise_images(cut_chips(day)), None),
                View(None, standardise_images(moving)),
            ),
            {TRANSFORM: truth},
        )

    def make_head(self, width: int) -> nn.Module:
        """Return a head that describes the cells of both images."""
        return DescriptorHead(width, _SIZE)

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return how hard a cell's true place is to tell from the other cells' places, both ways."""
        fixed, moving = output[:, 0], output[:, 1]
        xy = cell_places((fixed.shape[2], fixed.shape[3]), fixed.device)
        moving_from_fixed = torch.linalg.inv(batch.truth[TRANSFORM].cpu()).to(fixed)
        there = xy @ moving_from_fixed[:, :2, :2].transpose(1, 2) + moving_from_fixed[:, None, :2, 2]
        side = STRIDE * fixed.shape[3], STRIDE * fixed.shape[2]
        inside = ((there >= 0) & (there <= there.new_tensor(side) - 1)).all(dim=2)
        found = F.normalize(sample_cells(moving, there), dim=2)
        alike = fixed.flatten(2).transpose(1, 2) @ found.transpose(1, 2) / _TEMPERATURE
        # Neighbours look the same and are nearly right: they are no examples of what is wrong.
        near = (torch.cdist(xy, xy) < _NEAR_PX) & ~torch.eye(len(xy), dtype=torch.bool, device=xy.device)
        alike = alike.masked_fill(near | ~inside[:, None], -1e4)
        own = torch.diagonal(alike, dim1=1, dim2=2)
        apart = torch.stack([alike.logsumexp(dim=axis) - own for axis in (1, 2)]).mean(dim=0)
        told = (apart * inside).sum() / inside.sum().clamp_min(1)
        return told, {"descriptors": told}

    def answer(self, output: Tensor) -> list[Matches]:
        """Return the tie points of every pair."""
        return [match_descriptors(pair[0], pair[1]) for pair in output]

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return tie points that say the images lie on one another already."""
        del lessons  # there is nothing to learn

        def stay(batch: Batch) -> list[Matches]:
            rgb = batch.views[0].rgb
            assert rgb is not None
            blank = np.zeros(rgb.shape[2:])
            return [IdentityMatcher().match(blank, blank) for _ in range(len(batch))]

        return stay

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Return the area under the curve of corner errors, their root mean square, and precision.

        A pair without an estimate counts in the root mean square with 50 px.
        """
        errors, precise = [], []
        for batch in batches:
            rgb = batch.views[0].rgb
            assert rgb is not None
            shape = rgb.shape[2], rgb.shape[3]
            for truth, matches in zip(batch.truth[TRANSFORM].cpu().numpy(), predict(batch), strict=True):
                found = estimate_transform(matches, shape).fixed_from_moving
                errors.append(measure_corner_error(found, truth, shape))
                precise.append(measure_precision(matches, truth))
        areas = {f"auc_{limit:g}px": area_under_curve(errors, limit) for limit in _LIMITS_PX}
        bounded = np.minimum(errors, _MOST_PX)
        return {
            "score": areas[self.headline],
            **areas,
            "rmse_px": float(np.sqrt(np.mean(bounded**2))),
            "precision_3px": float(np.mean(precise)),
        }


def standardise_images(images: Tensor) -> Tensor:
    """Return images with their own mean 0 and deviation 1 by band: any sensor's will do."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) / (images.std(dim=(2, 3), keepdim=True, correction=0) + 1e-3)


def cell_places(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return where cells' middles lie, pixels, float32 (cells, 2), x and y."""
    rows, columns = torch.meshgrid(
        *(STRIDE * torch.arange(side, device=device) for side in shape), indexing="ij"
    )
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2).float() + (STRIDE - 1) / 2


def resample_parts(image: Tensor, transforms: Tensor, corners: Tensor, size: int) -> Tensor:
    """Return parts of an image (1, 1, height, width) under transforms, (parts, 1, size, size)."""
    steps = torch.arange(size, dtype=torch.float64)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    xy = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).reshape(-1, 3)
    source = (xy @ transforms.transpose(1, 2))[..., :2] + corners[:, None]
    scale = torch.tensor([image.shape[3] - 1, image.shape[2] - 1], dtype=torch.float64)
    grid = (2 * source / scale - 1).float().reshape(len(corners), size, size, 2)
    return F.grid_sample(
        image.expand(len(corners), -1, -1, -1), grid, align_corners=True, padding_mode="reflection"
    )


REGISTRATION = RegistrationTask()
