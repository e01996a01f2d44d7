"""A pair of images from start to end: pose, keypoints, matching network, dense refinement."""

# No postponed annotations: TorchScript reads named tuples by their types.

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.mapglue.alignment import PoseMaps, as_transform, pose_maps, search_pose
from models.mapglue.config import AlignmentConfig, MapGlueConfig
from models.mapglue.keypoints import Keypoints, fill_invalid, pad_image, pad_valid
from models.mapglue.model import MapGlue, as_points
from models.mapglue.offsets import fit_affine, local_offsets
from models.mapglue.side import Points
from models.mapglue.structure import OrientationChannels


class Picture(NamedTuple):
    """One image, filled, padded to multiples of 16.

    Attributes:
        grey: float32 (1, 1, height, width).
        valid: bool (1, 1, height, width).
    """

    grey: Tensor
    valid: Tensor


class Prepared(NamedTuple):
    """A pair ready for the matching network.

    Attributes:
        fixed: keypoints of the fixed image.
        moving: keypoints of the moving image as it was resampled.
        points0: of the fixed image as the network is given them.
        points1: of the moving image.
        descriptors0: float32 (1, width, h, w), 0 where not valid.
        descriptors1: likewise, of the moving image as resampled.
        moving_from_seen: float32 (3, 3), from the resampled image's pixels to the moving image's.
    """

    fixed: Keypoints
    moving: Keypoints
    points0: Points
    points1: Points
    descriptors0: Tensor
    descriptors1: Tensor
    moving_from_seen: Tensor


def make_picture(grey: Tensor, valid: Tensor) -> Picture:
    """Return an image (height, width) whose invalid pixels carry their surroundings' mean."""
    whole, mask = grey[None, None], valid[None, None]
    return Picture(pad_image(fill_invalid(whole, mask)), pad_valid(mask))


def shrink(picture: Picture, factor: float) -> Picture:
    """Return an image made smaller by a factor of at most 1, padded anew."""
    if factor >= 1:
        return picture
    size = [
        max(int(picture.grey.shape[2] * factor + 0.5), 1),
        max(int(picture.grey.shape[3] * factor + 0.5), 1),
    ]
    grey = F.interpolate(picture.grey, size=size, mode="bilinear", align_corners=False, antialias=True)
    part = F.interpolate(
        picture.valid.to(grey.dtype), size=size, mode="bilinear", align_corners=False, antialias=True
    )
    return Picture(pad_image(grey), pad_valid(part > 0.99))


def fit_factor(sides: list[int], most: int) -> float:
    """Return by how much images are made smaller, so that no side is longer than ``most`` pixels."""
    return min(most / max(sides), 1.0)


def rescale(factor: float) -> Tensor:
    """Return ``large_from_small`` pixels, (3, 3), of an image made smaller by a factor."""
    up, shift = 1 / factor, 0.5 / factor - 0.5
    return torch.tensor([[up, 0.0, shift], [0.0, up, shift], [0.0, 0.0, 1.0]])


def resample(picture: Picture, source_from_target: Tensor, size: list[int]) -> Picture:
    """Return images as seen on other grids.

    Args:
        picture: one image.
        source_from_target: float32 (k, 3, 3), affine, pixels.
        size: height and width of the answers.
    """
    count = source_from_target.shape[0]
    y = torch.arange(size[0], device=picture.grey.device, dtype=picture.grey.dtype)[:, None, None]
    x = torch.arange(size[1], device=picture.grey.device, dtype=picture.grey.dtype)[None, :, None]
    m = source_from_target.to(picture.grey.device)[:, None, None]
    place = m[..., :2, 0] * x + m[..., :2, 1] * y + m[..., :2, 2]
    full = torch.tensor(
        [picture.grey.shape[3], picture.grey.shape[2]], device=place.device, dtype=place.dtype
    )
    grid = (2 * place + 1) / full - 1
    both = torch.cat([picture.grey, picture.valid.to(picture.grey.dtype)], dim=1).expand(count, -1, -1, -1)
    seen = F.grid_sample(both, grid, padding_mode="border", align_corners=False)
    inside = ((place >= 0) & (place <= full - 1)).all(dim=-1)[:, None]
    return Picture(seen[:, :1], inside & (seen[:, 1:] > 0.99))


def map_points(target_from_source: Tensor, xy: Tensor) -> Tensor:
    """Return where an affine (3, 3) takes positions (..., 2)."""
    there = target_from_source.to(xy.device)
    return xy @ there[:2, :2].T + there[:2, 2]


class PairNetwork(nn.Module):
    """Pose search, MapGlue and dense refinement of one preset, in torch alone."""

    def __init__(self, config: MapGlueConfig, semantic: nn.Module | None = None) -> None:
        super().__init__()
        self.model = MapGlue(config, semantic)
        self.channels = OrientationChannels()
        alignment = config.alignment if config.alignment is not None else AlignmentConfig()
        self.aligns = config.alignment is not None
        self.coarse_px = 4 * alignment.coarse_side
        self.turns, self.candidates, self.rounds = alignment.turns, alignment.candidates, alignment.rounds
        self.scales = list(alignment.scales)
        self.max_side = config.max_side

    def prepare(self, fixed: Picture, moving: Picture, count: int) -> Prepared:
        """Return keypoints of both images, the moving one seen from the fixed one if the preset aligns."""
        moving_from_seen = torch.eye(3)
        seen = moving
        if self.aligns:
            moving_from_seen = torch.linalg.inv(self.find_pose(fixed, moving))
            seen = resample(moving, moving_from_seen[None], [fixed.grey.shape[2], fixed.grey.shape[3]])
        features0, features1 = self.model.features(fixed.grey), self.model.features(seen.grey)
        keypoints0 = self.model.pick(features0, fixed.grey, fixed.valid, count)
        keypoints1 = self.model.pick(features1, seen.grey, seen.valid, count)
        shape0 = [fixed.grey.shape[2], fixed.grey.shape[3]]
        shape1 = [seen.grey.shape[2], seen.grey.shape[3]]
        points0 = as_points(keypoints0, shape0, self.model.unit_px)
        points1 = as_points(keypoints1, shape1, self.model.unit_px)
        descriptors0 = keep_valid(features0.descriptors, fixed.valid)
        descriptors1 = keep_valid(features1.descriptors, seen.valid)
        return Prepared(
            keypoints0, keypoints1, points0, points1, descriptors0, descriptors1, moving_from_seen
        )

    def find_pose(self, fixed: Picture, moving: Picture) -> Tensor:
        """Return the similarity ``fixed_from_moving`` (3, 3) that brings the images nearly together."""
        sides = [fixed.grey.shape[2], fixed.grey.shape[3], moving.grey.shape[2], moving.grey.shape[3]]
        factor = min(self.coarse_px / max(sides), 1.0)
        maps0, maps1 = self.pose_maps(fixed, factor), self.pose_maps(moving, factor)
        pose = search_pose(maps0, maps1, self.turns, self.scales, self.candidates, self.rounds)
        return as_transform(pose, maps0, maps1)

    def pose_maps(self, picture: Picture, factor: float) -> PoseMaps:
        """Return the maps that are correlated, of an image made smaller by a factor."""
        small = shrink(picture, factor)
        octaves = self.channels(small.grey)
        energy = F.avg_pool2d(octaves[0], 2) + octaves[1]
        return pose_maps(energy, F.avg_pool2d(small.valid.to(energy.dtype), 4), 4 / factor)

    def forward(self, fixed: Picture, moving: Picture, count: int, factor: float) -> Tensor:
        """Return matches of one pair, float32 (n, 5): x, y of both images and a score, best first.

        Args:
            fixed: made smaller by ``factor``.
            moving: likewise.
            count: of keypoints per image at most.
            factor: at most 1; the answer is in pixels of the images before.
        """
        prepared = self.prepare(fixed, moving, count)
        partner, scores = self.model.glue(prepared.points0, prepared.points1)
        return self.finish(prepared, partner[0], scores[0], factor)

    def finish(self, prepared: Prepared, partner: Tensor, scores: Tensor, factor: float) -> Tensor:
        """Return a pair's matches from the network's answer, as :meth:`forward` does."""
        rows = torch.nonzero(partner >= 0)[:, 0]
        fixed_xy, seen_xy, score = (
            prepared.fixed.xy[0, rows],
            prepared.moving.xy[0, partner[rows]],
            scores[rows],
        )
        if self.aligns:
            fixed_xy, seen_xy, score = self.refine(prepared, fixed_xy, seen_xy, score)
        large_from_small = rescale(factor)
        moving_xy = map_points(prepared.moving_from_seen, seen_xy)
        order = torch.argsort(score, descending=True)
        both = [
            map_points(large_from_small, fixed_xy),
            map_points(large_from_small, moving_xy),
            score[:, None],
        ]
        return torch.cat(both, dim=1)[order]

    def refine(
        self, prepared: Prepared, xy0: Tensor, xy1: Tensor, scores: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return tie points to parts of a pixel, of those that agree on one affine.

        Dense offsets on every second cell, and at the keypoints that the network matched and that the
        offsets place within 6 px of where the network does; those count one and a half times.
        """
        dense = local_offsets(prepared.descriptors0, prepared.descriptors1, 3, 6)
        weight = dense.lead * dense.valid
        source, target, weights = as_pairs(dense.xy[:, 1::2, 1::2], weight[:, 1::2, 1::2], 8.0, 4.0)
        affine, agreement = fit_affine(source, target, weights.square(), [16.0, 12.0, 8.0, 6.0, 6.0])
        cells = torch.div(xy0 + 0.5, 4.0, rounding_mode="floor").long()
        moved = xy0 + dense.xy[0, cells[:, 1], cells[:, 0]] * 4.0
        meant = xy0 @ affine[0, :2, :2].T + affine[0, :2, 2]
        residual = (moved - meant).square().sum(dim=1)
        there = (1 + residual / 36.0) ** -2 * ((moved - xy1).square().sum(dim=1) < 36.0).to(scores.dtype)
        both = torch.cat([weights[0] * agreement[0], 1.5 * weight[0, cells[:, 1], cells[:, 0]] * there])
        held = torch.nonzero(torch.cat([agreement[0], there]) * both > 0.002)[:, 0]
        fixed_xy, moving_xy = torch.cat([source[0], xy0]), torch.cat([target[0], moved])
        return fixed_xy[held], moving_xy[held], both[held].clamp(0, 1)


def keep_valid(descriptors: Tensor, valid: Tensor) -> Tensor:
    """Return descriptors with 0 on cells that are not wholly valid."""
    step = valid.shape[2] // descriptors.shape[2]
    part = F.avg_pool2d(valid.to(descriptors.dtype), step)
    return descriptors * (part > 0.99).to(descriptors.dtype)


def as_pairs(
    offsets: Tensor, weight: Tensor, step_px: float, cell_px: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return places and where they lie by their offsets, pixels (batch, n, 2), and weights (batch, n).

    Args:
        offsets: float32 (batch, h, w, 2), cells.
        weight: float32 (batch, h, w).
        step_px: between places; if larger than a cell, the last of the cells in a step is meant.
        cell_px: size of a cell.
    """
    height, width = offsets.shape[1], offsets.shape[2]
    y = torch.arange(height, device=offsets.device, dtype=offsets.dtype)[:, None].expand(-1, width)
    x = torch.arange(width, device=offsets.device, dtype=offsets.dtype)[None].expand(height, -1)
    middle = (torch.stack([x, y], dim=-1) + 1) * step_px - 0.5 * cell_px - 0.5
    source = middle.flatten(0, 1)[None].expand(offsets.shape[0], -1, -1)
    return source, source + offsets.flatten(1, 2) * cell_px, weight.flatten(1)
