"""One transform from many tie points, robustly: by OpenCV's MAGSAC++, the same answer every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError
from models.matching.matches import Matches
from models.matching.transforms import Transform, apply_transform, image_corners

if TYPE_CHECKING:
    import cv2

TransformKind: TypeAlias = Literal["homography", "affine"]

_LEAST_POINTS: dict[TransformKind, int] = {"homography": 4, "affine": 3}
_LEAST_SPREAD_PX = 0.5
_AREA_RATIO = (1 / 25, 25.0)


@dataclass(frozen=True)
class Estimator:
    """How a transform is found among tie points of which many are wrong.

    Attributes:
        kind: ``homography`` has eight degrees of freedom, ``affine`` six.
        threshold_px: how far, in the fixed image, a tie point may lie off and still count.
        max_iterations: most samples drawn.
        confidence: sampling ends when a better model is this unlikely to be found.
    """

    kind: TransformKind = "homography"
    threshold_px: float = 1.5
    max_iterations: int = 10_000
    confidence: float = 0.9999


@dataclass(frozen=True)
class Estimate:
    """What the tie points agree on.

    Attributes:
        fixed_from_moving: None where they agree on nothing that can be believed.
        inliers: bool (n,), the tie points that fit; all False without a transform.
        reason: why there is no transform; None where there is one.
    """

    fixed_from_moving: Transform | None
    inliers: NDArray[np.bool_]
    reason: str | None = None


def estimate_transform(
    matches: Matches, moving_shape: tuple[int, int], estimator: Estimator | None = None
) -> Estimate:
    """Find the transform that most tie points agree on.

    Args:
        matches: tie points, in any order.
        moving_shape: height and width of the moving image: a transform that folds, mirrors or collapses it
            is not believed.
        estimator: the setting; a homography within 1.5 px when None.

    Source: Barath et al., MAGSAC++, CVPR 2020, as OpenCV's USAC has it.
    """
    estimator = estimator or Estimator()
    nothing = np.zeros(len(matches), np.bool_)
    reason = _too_little(matches, estimator.kind)
    if reason is not None:
        return Estimate(None, nothing, reason)
    transform, inliers = _run_magsac(matches, estimator)
    if transform is None:
        return Estimate(None, nothing, f"no {estimator.kind} fits {len(matches)} tie points")
    reason = find_absurdity(transform, moving_shape)
    if reason is not None:
        return Estimate(None, nothing, reason)
    return Estimate(transform, inliers)


def _too_little(matches: Matches, kind: TransformKind) -> str | None:
    least = _LEAST_POINTS[kind]
    for xy in (matches.fixed_xy, matches.moving_xy):
        distinct = len(np.unique(xy, axis=0))
        if distinct < least:
            return f"{distinct} distinct tie points; a {kind} needs {least}"
        centred = (xy - xy.mean(axis=0)).astype(np.float64)
        across = np.linalg.svd(centred, compute_uv=False)[1] / np.sqrt(len(xy))
        if across < _LEAST_SPREAD_PX:
            return f"the tie points lie on one line, within {across:.2g} px"
    return None


def _run_magsac(matches: Matches, estimator: Estimator) -> tuple[Transform | None, NDArray[np.bool_]]:
    import cv2

    source, target = (np.ascontiguousarray(xy, np.float64) for xy in (matches.moving_xy, matches.fixed_xy))
    if estimator.kind == "homography":
        found, mask = cv2.findHomography(
            source,
            target,
            cv2.USAC_MAGSAC,
            estimator.threshold_px,
            maxIters=estimator.max_iterations,
            confidence=estimator.confidence,
        )
    else:
        found, mask = cv2.estimateAffine2D(source, target, params=_magsac_params(estimator))
    rows = np.asarray(found, np.float64)  # None, against OpenCV's stubs, where nothing fits: no rows
    if rows.ndim != 2 or not np.isfinite(rows).all():
        return None, np.zeros(len(source), np.bool_)
    transform = np.eye(3)
    transform[: len(rows)] = rows
    return transform, np.asarray(mask).ravel().astype(np.bool_)


def _magsac_params(estimator: Estimator) -> cv2.UsacParams:
    """Spell for affine transforms what OpenCV means by USAC_MAGSAC, which it only knows of homographies."""
    import cv2

    params = cv2.UsacParams()
    params.threshold = estimator.threshold_px
    params.maxIterations = estimator.max_iterations
    params.confidence = estimator.confidence
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.loMethod = cv2.LOCAL_OPTIM_SIGMA
    params.sampler = cv2.SAMPLING_UNIFORM
    params.final_polisher = cv2.MAGSAC
    params.randomGeneratorState = 0
    return params


def find_absurdity(fixed_from_moving: Transform, moving_shape: tuple[int, int]) -> str | None:
    """Say what no picture of the ground does to another: fold, mirror or collapse; None where all is well.

    Raises:
        InputError: the transform is not 3×3.
    """
    if fixed_from_moving.shape != (3, 3):
        raise InputError(f"A transform of shape {fixed_from_moving.shape} is given; expected (3, 3).")
    if not np.isfinite(fixed_from_moving).all():
        return "the transform is not finite"
    corners = image_corners(moving_shape)
    depth = corners @ fixed_from_moving[2, :2] + fixed_from_moving[2, 2]
    if depth.min() * depth.max() <= 0:
        return "the transform folds the image: its horizon lies within it"
    mapped = apply_transform(fixed_from_moving, corners)
    turns = [_turn(*mapped[[i - 2, i - 1, i]]) for i in range(4)]
    if max(turns) <= 0:
        return "the transform mirrors or collapses the image"
    if min(turns) <= 0:
        return "the transform folds the image: its outline crosses itself"
    area = (turns[0] + turns[2]) / 2
    ratio = area / max((moving_shape[0] - 1) * (moving_shape[1] - 1), 1)
    if not _AREA_RATIO[0] <= ratio <= _AREA_RATIO[1]:
        return f"the transform changes the image's area {ratio:.3g}-fold; expected 1/25 to 25"
    return None


def _turn(before: NDArray[np.float64], at: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the cross product of two edges that meet: positive for a turn to the right as shown."""
    (ax, ay), (bx, by) = at - before, after - at
    return float(ax * by - ay * bx)
