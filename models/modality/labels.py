"""Which keypoints of a warped pair belong together, for a matcher to learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from infra.errors import InputError

MATCH_PX = 3.0
UNMATCHABLE_PX = 5.0


@dataclass(frozen=True)
class MatchLabels:
    """The truth about the keypoints of a batch of pairs.

    A keypoint with neither a partner nor the word "unmatchable" is to be left out of a loss: its nearest
    candidate is too far to be sure of and too near to be ruled out.

    Attributes:
        fixed_to_moving: int64 (batch, n), the index of the same place in the moving image, or −1.
        moving_to_fixed: int64 (batch, m), likewise the other way round.
        fixed_unmatchable: bool (batch, n), surely without a partner.
        moving_unmatchable: bool (batch, m), likewise.
    """

    fixed_to_moving: Tensor
    moving_to_fixed: Tensor
    fixed_unmatchable: Tensor
    moving_unmatchable: Tensor


def label_matches(
    fixed_xy: Tensor,
    moving_xy: Tensor,
    fixed_from_moving: Tensor,
    fixed_valid: Tensor,
    moving_valid: Tensor,
) -> MatchLabels:
    """Label keypoints by where the true transform takes them.

    The distance of two keypoints is the larger of the two reprojection distances, one in each image. They
    match when each is the other's nearest and the distance is below 3 px. A keypoint is unmatchable when it
    does not match and no candidate lies within 5 px, or its place is outside the other image or not valid
    there.

    Args:
        fixed_xy: (batch, n, 2) pixels; a row of NaN is padding and gets neither label.
        moving_xy: (batch, m, 2), likewise.
        fixed_from_moving: (batch, 3, 3), on column vectors.
        fixed_valid: bool (batch, 1, height, width) of the fixed image.
        moving_valid: likewise of the moving one; its size may differ.

    Raises:
        InputError: the shapes do not belong together.
    """
    _check_shapes(fixed_xy, moving_xy, fixed_from_moving, fixed_valid, moving_valid)
    transforms = fixed_from_moving.double()
    fixed, moving = fixed_xy.double(), moving_xy.double()
    in_moving = project(torch.linalg.inv(transforms), fixed)
    in_fixed = project(transforms, moving)
    distances = torch.maximum(_distances(fixed, in_fixed), _distances(in_moving, moving))
    forth, back = _mutual_nearest(distances)
    return MatchLabels(
        forth,
        back,
        _ruled_out(fixed, forth, distances, ~_seen(in_moving, moving_valid)),
        _ruled_out(moving, back, distances.transpose(1, 2), ~_seen(in_fixed, fixed_valid)),
    )


def project(target_from_source: Tensor, xy: Tensor) -> Tensor:
    """Send positions (batch, n, 2) through transforms (batch, 3, 3).

    Positions on or beyond the vanishing line have no image and become infinite.
    """
    ones = torch.ones_like(xy[..., :1])
    x, y, w = (torch.cat([xy, ones], -1) @ target_from_source.transpose(1, 2)).unbind(-1)
    mapped = torch.stack([x, y], -1) / w[..., None]
    return torch.where((w > 0)[..., None], mapped, torch.where(xy.isnan(), xy, torch.inf))


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Return all distances (batch, n, m); infinite where a position has no image or is padding."""
    apart = torch.cdist(first.float(), second.float(), compute_mode="donot_use_mm_for_euclid_dist")
    return torch.nan_to_num(apart, nan=torch.inf)


def _mutual_nearest(distances: Tensor) -> tuple[Tensor, Tensor]:
    batch, rows, columns = distances.shape
    if rows == 0 or columns == 0:
        none = torch.full((batch, rows + columns), -1, dtype=torch.int64, device=distances.device)
        return none[:, :rows], none[:, rows:]
    near, forth = distances.min(2)
    back = distances.argmin(1)
    own_row = torch.arange(rows, device=distances.device)
    own_column = torch.arange(columns, device=distances.device)
    fits = (back.gather(1, forth) == own_row) & (near < MATCH_PX)
    returns = (forth.gather(1, back) == own_column) & (near.gather(1, back) < MATCH_PX)
    return torch.where(fits, forth, -1), torch.where(returns, back, -1)


def _ruled_out(xy: Tensor, partner: Tensor, distances: Tensor, unseen: Tensor) -> Tensor:
    far = (distances > UNMATCHABLE_PX).all(2)  # also where the other image has no keypoint at all
    return (partner < 0) & (far | unseen) & ~xy.isnan().any(-1)


def _seen(xy: Tensor, valid: Tensor) -> Tensor:
    """Return whether the pixel nearest to each position exists and is valid, (batch, n)."""
    height, width = valid.shape[-2:]
    inside = (xy >= -0.5).all(-1) & (xy[..., 0] < width - 0.5) & (xy[..., 1] < height - 0.5)
    near = torch.where(inside[..., None], xy, 0.0).add(0.5).floor().long()
    flat = near[..., 1] * width + near[..., 0]
    return inside & valid.flatten(1).gather(1, flat)


def _check_shapes(
    fixed_xy: Tensor, moving_xy: Tensor, fixed_from_moving: Tensor, fixed_valid: Tensor, moving_valid: Tensor
) -> None:
    batch = len(fixed_from_moving)
    points = all(xy.ndim == 3 and xy.shape[0] == batch and xy.shape[2] == 2 for xy in (fixed_xy, moving_xy))
    masks = all(
        v.ndim == 4 and v.shape[:2] == (batch, 1) and v.dtype == torch.bool
        for v in (fixed_valid, moving_valid)
    )
    if not (points and masks and fixed_from_moving.shape == (batch, 3, 3)):
        shapes = [tuple(t.shape) for t in (fixed_xy, moving_xy, fixed_from_moving, fixed_valid, moving_valid)]
        raise InputError(
            f"Keypoints, transforms and masks of shapes {shapes} cannot be labelled; expected (batch, n, 2), "
            "(batch, m, 2), (batch, 3, 3) and two bool masks (batch, 1, height, width)."
        )
