"""The whole network: extractor and matching network of one preset."""

from __future__ import annotations

from torch import Tensor, nn

from models.mapglue.config import MapGlueConfig
from models.mapglue.keypoints import (
    Keypoints,
    detect,
    fill_invalid,
    inner_pixels,
    pad_image,
    pad_valid,
    sample_keypoints,
)
from models.mapglue.network import GlueNetwork
from models.mapglue.side import Points, normalise_positions
from models.mapglue.structure import StructureNet
from models.mapglue.superpoint import DenseFeatures, SuperPoint


class MapGlue(nn.Module):
    """Extractor and matching network; images go in, keypoints and their partners come out.

    Args:
        config: of the preset.
        semantic: another source of semantic context than the extractor's own coarse features: takes
            float32 (batch, 1, height, width), gives (batch, ``config.semantic_width``, h, w).
    """

    def __init__(self, config: MapGlueConfig, semantic: nn.Module | None = None) -> None:
        super().__init__()
        light = config.extractor == "structure"
        self.extractor: nn.Module = (
            StructureNet(config.descriptor_width, config.semantic_width) if light else SuperPoint()
        )
        self.glue = GlueNetwork(config)
        self.semantic: nn.Module = semantic if semantic is not None else nn.Identity()
        self.own_semantic = semantic is None
        detection = config.detection
        self.power, self.floor = detection.saliency_power, detection.saliency_floor
        self.unit_px = config.glue.unit_px
        self.radii, self.border = list(detection.radii_px), detection.border_px

    def forward(
        self, grey0: Tensor, grey1: Tensor, valid0: Tensor, valid1: Tensor, count: int
    ) -> tuple[Keypoints, Keypoints, Tensor, Tensor]:
        """Return keypoints of both images of pairs and who belongs to whom.

        Args:
            grey0: float32 (batch, 1, height, width), 0 to 1.
            grey1: likewise, of a size of its own.
            valid0: bool, as ``grey0``.
            valid1: bool, as ``grey1``.
            count: of keypoints per image at most.

        Returns:
            Keypoints of both; for each of the first its partner among the second, int64 (batch, n), -1 for
            none; the match's score float32 (batch, n).
        """
        points0, points1 = self.keypoints(grey0, valid0, count), self.keypoints(grey1, valid1, count)
        partner, scores = self.glue(
            as_points(points0, [grey0.shape[2], grey0.shape[3]], self.unit_px),
            as_points(points1, [grey1.shape[2], grey1.shape[3]], self.unit_px),
        )
        return points0, points1, partner, scores

    def features(self, grey: Tensor) -> DenseFeatures:
        """Return dense features of images with sides that are multiples of 16."""
        found: DenseFeatures = self.extractor(grey)
        if self.own_semantic:
            return found
        return DenseFeatures(found.scores, found.descriptors, self.semantic(grey))

    def keypoints(self, grey: Tensor, valid: Tensor, count: int) -> Keypoints:
        """Return keypoints of images of any size."""
        padded = pad_image(fill_invalid(grey, valid))
        return self.pick(self.features(padded), padded, pad_valid(valid), count)

    def pick(self, features: DenseFeatures, padded: Tensor, valid: Tensor, count: int) -> Keypoints:
        """Return keypoints of padded images whose features are known."""
        # A detector may answer for groups of pixels: then everything below is in such groups.
        step = padded.shape[2] // features.scores.shape[1]
        grey = nn.functional.avg_pool2d(padded, step)
        inner = inner_pixels(nn.functional.avg_pool2d(valid.to(grey.dtype), step) > 0.99, self.border)
        # Nothing learns through where a keypoint lies.
        fixed = DenseFeatures(features.scores.detach(), features.descriptors, features.semantic)
        scores = detect(fixed, grey, inner, self.power, self.floor, self.radii)
        return sample_keypoints(features, scores, count, step)


def as_points(keypoints: Keypoints, shape: list[int], unit_px: float) -> Points:
    """Return keypoints of an image of a height and width as the matching network is given them."""
    positions = normalise_positions(keypoints.xy, shape, unit_px)
    return Points(positions, keypoints.descriptors, keypoints.semantic, keypoints.valid)
