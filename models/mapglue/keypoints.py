"""From images to keypoints with descriptors: fill what is not valid, extract, suppress, sample."""

# No postponed annotations: TorchScript reads named tuples by their types.

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.mapglue.adaptive_nms import best_keypoints, local_max, suppress
from models.mapglue.saliency import blur, enhance_scores, saliency_map
from models.mapglue.semantic import sample_map
from models.mapglue.superpoint import DenseFeatures


class Keypoints(NamedTuple):
    """Keypoints of images, best first.

    Attributes:
        xy: float32 (batch, n, 2), pixels.
        scores: float32 (batch, n).
        descriptors: float32 (batch, n, width), length 1.
        semantic: float32 (batch, n, semantic width).
        valid: bool (batch, n), False for padding.
    """

    xy: Tensor
    scores: Tensor
    descriptors: Tensor
    semantic: Tensor
    valid: Tensor


def fill_invalid(grey: Tensor, valid: Tensor) -> Tensor:
    """Return images whose invalid pixels carry their surroundings' mean, so that no filter sees an edge.

    Args:
        grey: float32 (batch, 1, height, width).
        valid: bool, likewise.
    """
    if bool(valid.all()):
        return grey
    weight = valid.to(grey.dtype)
    near, near_weight = blur(grey * weight, 4.0), blur(weight, 4.0)
    overall = (grey * weight).sum(dim=(2, 3), keepdim=True) / weight.sum(dim=(2, 3), keepdim=True).clamp_min(
        1
    )
    # The mean of the image takes over where nothing valid is near.
    fill = (near + 0.02 * overall) / (near_weight + 0.02)
    return torch.where(valid, grey, fill)


def pad_image(image: Tensor, multiple: int = 16) -> Tensor:
    """Return images with their last row and column repeated until the sides are multiples."""
    right, below = -image.shape[3] % multiple, -image.shape[2] % multiple
    return F.pad(image, [0, right, 0, below], mode="replicate")


def pad_valid(valid: Tensor, multiple: int = 16) -> Tensor:
    """Return masks padded as images are, False there."""
    right, below = -valid.shape[3] % multiple, -valid.shape[2] % multiple
    return F.pad(valid, [0, right, 0, below], value=0.0)


def inner_pixels(valid: Tensor, border_px: int) -> Tensor:
    """Return which pixels lie further than ``border_px`` from the edge and from invalid ones, as given."""
    if border_px == 0:
        return valid
    outside = F.pad(1.0 - valid[:, 0].float(), [border_px, border_px, border_px, border_px], value=1.0)
    near = local_max(outside, border_px)
    return near[:, None, border_px:-border_px, border_px:-border_px] == 0


def sample_keypoints(features: DenseFeatures, scores: Tensor, count: int, step: int) -> Keypoints:
    """Return the best keypoints of suppressed scores with their descriptors.

    Args:
        features: of the padded images.
        scores: float32 (batch, height / step, width / step) of the padded images, 0 for no
            keypoint.
        count: at most so many.
        step: pixels per row of the scores.
    """
    places, best, found = best_keypoints(scores, count)
    xy = (places + 0.5) * step - 0.5
    shape = [scores.shape[1] * step, scores.shape[2] * step]
    descriptors = F.normalize(sample_map(features.descriptors, xy, shape), dim=-1)
    return Keypoints(xy, best, descriptors, sample_map(features.semantic, xy, shape), found)


def detect(
    features: DenseFeatures, grey: Tensor, inner: Tensor, power: float, floor: float, radii_px: list[int]
) -> Tensor:
    """Return saliency-enhanced scores after adaptive suppression, 0 where no keypoint lies.

    Args:
        features: of the images.
        grey: float32 (batch, 1, height, width).
        inner: bool, likewise: where keypoints may lie.
        power: see :func:`models.mapglue.saliency.saliency_map`.
        floor: see :func:`models.mapglue.saliency.enhance_scores`.
        radii_px: see :func:`models.mapglue.adaptive_nms.suppress`.
    """
    saliency = saliency_map(grey, power)
    scores = enhance_scores(features.scores, saliency, floor)
    scores = torch.where(inner[:, 0], scores, torch.zeros_like(scores))
    return suppress(scores, saliency, radii_px)
