"""What a MapGlue network is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ExtractorName: TypeAlias = Literal["superpoint", "structure"]


@dataclass(frozen=True)
class DetectionConfig:
    """Where keypoints are taken.

    Attributes:
        saliency_power: exponent of the contrast curve on the gradient, below 1 lifts faint texture.
        saliency_floor: part of a detector's score that flat ground keeps, 0 to 1.
        radii_px: suppression radii, from the most salient ground to the flattest, whole pixels of the
            detector's map, which has half the images' size in the light extractor.
        border_px: no keypoint this close to the image's edge or to invalid ground, likewise.
        max_keypoints: of one image, best first.
    """

    saliency_power: float = 0.5
    saliency_floor: float = 0.5
    radii_px: tuple[int, ...] = (3, 4, 6)
    border_px: int = 4
    max_keypoints: int = 2048


@dataclass(frozen=True)
class GlueConfig:
    """The part that matches keypoints.

    Attributes:
        width: features per keypoint.
        heads: of every attention; ``width`` is a multiple of 4 × ``heads`` (rotary pairs on two axes).
        blocks: pairs of a self and a cross attention.
        neighbours: of a keypoint in each graph, itself among them.
        match_threshold: matches of a lower assignment score are not returned.
        exit_share: stop after a block when this share of points is confident; 0 for never.
        prune_below: points less likely matchable than this, and sure of it, leave; 0 for none.
        aligned: positions of the two images are comparable, so cross attention and assignment use them.
        unit_px: what counts as 1 in positions; 0 for half the longer side of each image.
    """

    width: int = 256
    heads: int = 4
    blocks: int = 9
    neighbours: int = 32
    match_threshold: float = 0.1
    exit_share: float = 0.0
    prune_below: float = 0.0
    aligned: bool = False
    unit_px: float = 0.0


@dataclass(frozen=True)
class AlignmentConfig:
    """How the moving image is turned before its features are compared.

    Attributes:
        coarse_side: longest side in cells of the maps that are correlated under every turn and scale.
        turns: tried evenly around the full circle.
        scales: tried for each turn.
        candidates: poses that are looked at closer, at most.
        rounds: of looking closer; each halves the steps between turns and scales.
    """

    coarse_side: int = 64
    turns: int = 48
    scales: tuple[float, ...] = (0.72, 0.85, 1.0, 1.18, 1.39)
    candidates: int = 6
    rounds: int = 3


@dataclass(frozen=True)
class MapGlueConfig:
    """One preset.

    Attributes:
        name: it is asked for by.
        extractor: "superpoint" (1.3 M parameters) or "structure" (fixed orientation channels and a small
            network).
        descriptor_width: features of a dense descriptor.
        semantic_width: channels of the coarse semantic map.
        max_side: longer images are made smaller before they are looked at, pixels.
        detection: where keypoints are taken.
        glue: how they are matched.
        alignment: how a coarse pose is searched first; None for not at all.
    """

    name: str
    extractor: ExtractorName = "superpoint"
    descriptor_width: int = 256
    semantic_width: int = 128
    max_side: int = 1024
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    glue: GlueConfig = field(default_factory=GlueConfig)
    alignment: AlignmentConfig | None = None
