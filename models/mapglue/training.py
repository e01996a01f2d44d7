"""MapGlue as the training loop knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.mapglue.config import MapGlueConfig
from models.mapglue.keypoints import Keypoints, fill_invalid, pad_image, pad_valid
from models.mapglue.lessons import LessonConfig, draw_lesson
from models.mapglue.loss import confidence_loss, descriptor_loss, masked_mean, match_loss
from models.mapglue.model import MapGlue, as_points
from models.mapglue.presets import find_preset
from models.mapglue.semantic import sample_map
from models.mapglue.side import Points
from models.mapglue.structure import StructureNet
from models.mapglue.superpoint import DenseFeatures
from models.modality.labels import MatchLabels, label_matches, project
from models.modality.pairs import TrainingPairs
from models.training.config import TrainingConfig
from models.training.trainable import ArrayFacts, ModelFacts, ModelSignature

_VALIDATION_SEED = 990_001
_VALIDATION_BATCHES = 4
_NEAR_PX = 6.0
_TEMPERATURE = 0.08
_RING = ((5.0, 0.0), (-5.0, 0.0), (0.0, 5.0), (0.0, -5.0), (9.0, 9.0), (-9.0, -9.0), (9.0, -9.0), (-9.0, 9.0))
_PICTURE = (
    "a raster of one band or more, any numbers, blended to grey and stretched between its 1st and 99th "
    "percentile"
)
_SIGNATURE = ModelSignature(
    architecture="MapGlue",
    tasks=("regression",),
    inputs=tuple(
        ArrayFacts(
            name=name,
            description=f"{which}; {_PICTURE}",
            axes=("height", "width"),
            shape=(-1, -1),
            prepared_by="models.matching.images:prepare_image",
        )
        for name, which in (("fixed", "the picture that stays"), ("moving", "the picture that is moved"))
    ),
    outputs=(
        ArrayFacts(
            name="tie_points",
            description="x and y in the fixed picture, x and y in the moving one (pixels, centres at whole "
            "numbers), score 0 to 1; best first",
            axes=("point", "value"),
            shape=(-1, 5),
        ),
    ),
)


@dataclass(frozen=True)
class MapGlueLearner:
    """A preset with the lessons it takes.

    Attributes:
        config: the preset.
        lessons: what batches are made of.
        keypoints: per image while learning.
    """

    config: MapGlueConfig
    lessons: LessonConfig = field(default_factory=LessonConfig)
    keypoints: int = 192

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.config.name

    @property
    def defaults(self) -> TrainingConfig:
        """A training of about an hour on two cores."""
        return TrainingConfig(
            steps=1500, learning_rate=2e-3, warmup_steps=50, weight_decay=0.01, evaluate_every=250
        )

    @property
    def facts(self) -> ModelFacts:
        """What the card says."""
        return ModelFacts(
            title=f"MapGlue ({self.name})",
            summary="Two images of a place in, tie points out, whatever sensor or draughtsman made them: "
            "orientation channels, a small descriptor network, two graphs over keypoints and attention.",
            data=(
                "Procedural places drawn by models/modality from the training's seed: fields, forests, "
                "towns, rivers, coasts; shown as daylight, map, radar, thermal, height and night images. "
                "No real image, hence no licence but this project's.",
            ),
            validation=f"Matches within 3 px on {_VALIDATION_BATCHES * self.lessons.pairs} procedural pairs "
            f"of a seed of their own, warped at level {self.lessons.level}: score is the harmonic mean of "
            "precision and recall.",
            limits=(
                "Never saw a real image while learning; see terraloom evaluate matching.",
                "Scale differences beyond 0.7 to 1.4 are not searched.",
            ),
            signature=_SIGNATURE,
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network with fresh weights."""
        torch.manual_seed(seed)
        return MapGlue(self.config)

    def batch(self, seed: int, step: int, device: torch.device) -> TrainingPairs:
        """Make a batch; on the CPU, so that every device learns from the same."""
        del device  # the loop moves it
        return draw_lesson(self.lessons, seed, step)

    def loss(self, module: nn.Module, batch: TrainingPairs) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the sum of what the matching network and the extractor learn by."""
        assert isinstance(module, MapGlue)
        both = look_at(module, batch, self.keypoints)
        answers = module.glue.answers(both.points(0), both.points(1))
        labels = both.labels(batch)
        matches = match_loss(
            answers, labels.fixed_to_moving, labels.fixed_unmatchable, labels.moving_unmatchable
        )
        confidence = confidence_loss(answers)
        dense = _dense_loss(both, batch)
        total = matches + confidence + dense
        return total, {"matches": matches, "confidence": confidence, "descriptors": dense}

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure matches on held-out places."""
        assert isinstance(module, MapGlue)
        module.eval()
        counts = torch.zeros(3, dtype=torch.float64)
        with torch.no_grad():
            for step in range(_VALIDATION_BATCHES):
                batch = _to(draw_lesson(self.lessons, _VALIDATION_SEED, step), device)
                counts += _count_matches(module, batch, self.keypoints).cpu()
        right, found, possible = counts.tolist()
        precision, recall = right / max(found, 1), right / max(possible, 1)
        score = 2 * precision * recall / max(precision + recall, 1e-9)
        return {"score": score, "precision_3px": precision, "recall_3px": recall}


def mapglue_tiny() -> MapGlueLearner:
    """Return the learner of the tiny preset."""
    return MapGlueLearner(find_preset("mapglue-tiny"))


@dataclass(frozen=True)
class BothSides:
    """Features and keypoints of a batch's fixed and moving images."""

    features: tuple[DenseFeatures, DenseFeatures]
    keypoints: tuple[Keypoints, Keypoints]
    shape: list[int]
    unit_px: float
    reliability: Tensor | None

    def points(self, side: int) -> Points:
        """Return a side's keypoints as the matching network is given them."""
        return as_points(self.keypoints[side], self.shape, self.unit_px)

    def labels(self, batch: TrainingPairs) -> MatchLabels:
        """Return which keypoints truly belong together."""
        fixed, moving = (torch.where(side.valid[..., None], side.xy, torch.nan) for side in self.keypoints)
        return label_matches(fixed, moving, batch.fixed_from_moving, batch.fixed_valid, batch.moving_valid)


def look_at(module: MapGlue, batch: TrainingPairs, count: int) -> BothSides:
    """Return features and keypoints of a batch."""
    grey, valid = torch.cat([batch.fixed, batch.moving]), torch.cat([batch.fixed_valid, batch.moving_valid])
    shape = [grey.shape[2], grey.shape[3]]
    padded = pad_image(fill_invalid(grey, valid))
    features, reliability = _features(module, padded)
    found = module.pick(features, padded, pad_valid(valid), count)
    half = len(batch)
    cut = [slice(0, half), slice(half, None)]
    sides = [DenseFeatures(*(value[rows] for value in features)) for rows in cut]
    points = [Keypoints(*(value[rows] for value in found)) for rows in cut]
    relied = None if reliability is None else reliability[:half]
    return BothSides((sides[0], sides[1]), (points[0], points[1]), shape, module.unit_px, relied)


def _features(module: MapGlue, padded: Tensor) -> tuple[DenseFeatures, Tensor | None]:
    if isinstance(module.extractor, StructureNet):
        return module.extractor.look(padded)
    return module.features(padded), None


def _dense_loss(both: BothSides, batch: TrainingPairs) -> Tensor:
    """Return how hard each fixed keypoint's true place is to tell from the others' and from beside it."""
    points = both.keypoints[0]
    moving_from_fixed = torch.linalg.inv(batch.fixed_from_moving)
    there = project(moving_from_fixed, points.xy.double()).float().nan_to_num(posinf=-1e4)
    seen = _inside(there, batch.moving_valid) & points.valid
    shape = both.shape
    found = F.normalize(sample_map(both.features[1].descriptors, there.clamp(-99, 9999), shape), dim=-1)
    similarity = points.descriptors @ found.transpose(1, 2) / _TEMPERATURE
    near = torch.cdist(there, there) < _NEAR_PX
    told_apart = descriptor_loss(similarity, seen, near) + _beside_loss(both, there, found, seen)
    if both.reliability is None:
        return told_apart
    logits = sample_map(both.reliability, points.xy, shape)[..., 0]
    best = similarity.detach().masked_fill(~seen[:, None], -1e4).argmax(dim=2)
    right = torch.gather(near, 2, best[..., None])[..., 0].to(logits.dtype)
    relied = F.binary_cross_entropy_with_logits(logits, right, reduction="none")
    return told_apart + masked_mean(relied, seen)


def _beside_loss(both: BothSides, there: Tensor, found: Tensor, seen: Tensor) -> Tensor:
    """Return how hard the true place is to tell from places 5 to 13 px beside it."""
    descriptors = both.keypoints[0].descriptors
    true = (descriptors * found).sum(dim=-1)
    beside = [
        (descriptors * _normal_sample(both, there + there.new_tensor(offset))).sum(dim=-1) for offset in _RING
    ]
    logits = torch.stack([true, *beside], dim=-1) / _TEMPERATURE
    return -masked_mean(F.log_softmax(logits, dim=-1)[..., 0], seen)


def _normal_sample(both: BothSides, xy: Tensor) -> Tensor:
    return F.normalize(sample_map(both.features[1].descriptors, xy.clamp(-99, 9999), both.shape), dim=-1)


def _inside(xy: Tensor, valid: Tensor) -> Tensor:
    """Return which positions (batch, n, 2) lie on valid pixels of masks (batch, 1, height, width)."""
    height, width = valid.shape[2:]
    column, row = (xy[..., i].round().long() for i in (0, 1))
    within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return within & torch.gather(valid.flatten(1), 1, index)


def _count_matches(module: MapGlue, batch: TrainingPairs, count: int) -> Tensor:
    """Return how many matches are right, were found, and were to be found."""
    both = look_at(module, batch, count)
    partner, _ = module.glue(both.points(0), both.points(1))
    moving_xy = torch.gather(both.keypoints[1].xy, 1, partner.clamp_min(0)[..., None].expand(-1, -1, 2))
    true_xy = project(torch.linalg.inv(batch.fixed_from_moving), both.keypoints[0].xy.double()).float()
    right = ((moving_xy - true_xy).norm(dim=-1) < 3.0) & (partner >= 0)
    possible = (both.labels(batch).fixed_to_moving >= 0).sum()
    return torch.stack([right.sum(), (partner >= 0).sum(), possible]).double()


def _to(batch: TrainingPairs, device: torch.device) -> TrainingPairs:
    return TrainingPairs(*(getattr(batch, name).to(device) for name in batch.__dataclass_fields__))
