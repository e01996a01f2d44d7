"""MaRS as the training loop knows it: aligned pretraining, and the optical stage that may follow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infra.digests import sha256_of_file
from models.mars.checkpoint import load_encoder, load_mars
from models.mars.chips import ChipFile, ReaderChips
from models.mars.config import COARSEST_PX, MarsConfig
from models.mars.facts import describe_mars
from models.mars.lessons import Chips, LessonConfig, draw_chips
from models.mars.losses import (
    ContrastConfig,
    cross_granularity_loss,
    distillation_loss,
    reconstruction_loss,
)
from models.mars.network import Mars, MarsAnswer
from models.mars.places import NAME as PROCEDURAL
from models.mars.places import place_statistics
from models.mars.statistics import (
    STATISTICS_BUFFER,
    Statistics,
    pack_statistics,
)
from models.mars.teacher import MOMENTUM, Teacher
from models.scores.retrieval import rank_partners, recall_at
from models.training.config import TrainingConfig
from models.training.trainable import ModelFacts

_VALIDATION_SEED = 0
_VALIDATION_BATCHES = 8
_WHOLE_PARTS = ("rebuilt", "taught", "filled", "guessed")
_PARTS = (*_WHOLE_PARTS, "patch", "image", "hierarchical")


class MarsPretraining(nn.Module):
    """A network with what it has only while it learns: its teacher, and the statistics of its data.

    Args:
        mars: the student.
        teacher: whose features it learns to give.
        statistics: of each source, kept with the weights.
    """

    def __init__(self, mars: Mars, teacher: Teacher, statistics: Mapping[str, Statistics]) -> None:
        super().__init__()
        self.mars = mars
        self.teacher = teacher
        self.statistics: Tensor
        self.register_buffer(STATISTICS_BUFFER, pack_statistics(statistics))


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """How much each part counts in the sum; all alike as published.

    Attributes:
        rebuilt: hidden squares.
        taught: the teacher's features.
        contrast: the three granularities together.
        filled: features of a missing modality.
        guessed: whole images of a missing modality.
    """

    rebuilt: float = 1.0
    taught: float = 1.0
    contrast: float = 1.0
    filled: float = 1.0
    guessed: float = 1.0


@dataclass(frozen=True)
class MarsLearner:
    """A preset with the lessons it takes.

    Attributes:
        config: the preset.
        lessons: what batches are made of.
        sources: of real chips besides the drawn places.
        contrast: weights and temperatures of the contrast.
        weights: of the parts of the loss.
        teacher_weights: of a frozen teacher, e.g. the released optical encoder; None lets the teacher
            trail behind the student, for there are no weights that know anything yet.
        start: weights to go on from; None starts with fresh ones.
        label: what the training is called besides the preset's name.
    """

    config: MarsConfig
    lessons: LessonConfig = field(default_factory=LessonConfig)
    sources: tuple[ChipFile | ReaderChips, ...] = ()
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    teacher_weights: Path | None = None
    start: Path | None = None
    label: str = ""

    @property
    def name(self) -> str:
        """The name it is trained by; what tells its chips and weights from others stands in ``facts``."""
        return f"{self.config.name}{self.label}"

    @property
    def defaults(self) -> TrainingConfig:
        """A training of about an hour on one core."""
        return TrainingConfig(
            steps=1500, learning_rate=1.5e-3, warmup_steps=100, weight_decay=0.05, evaluate_every=300
        )

    @property
    def facts(self) -> ModelFacts:
        """What the card says."""
        start, teacher = (
            None if path is None else sha256_of_file(path) for path in (self.start, self.teacher_weights)
        )
        return describe_mars(
            self.name,
            self.config,
            self.sources,
            held_out=_VALIDATION_BATCHES * self.lessons.chips,
            teacher=teacher,
            start=start,
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network with fresh weights, or with those it goes on from, and its teacher."""
        torch.manual_seed(seed)
        mars = Mars(self.config) if self.start is None else load_mars(self.config, self.start)
        teacher = Teacher(mars.encoder_rgb)
        if self.teacher_weights is not None:
            load_encoder(teacher.encoder, self.teacher_weights, self.config, "rgb")
        return MarsPretraining(mars, teacher, self.statistics())

    def statistics(self) -> dict[str, Statistics]:
        """Return mean and spread of every source it learns from."""
        return {PROCEDURAL: place_statistics(), **{one.name: one.statistics for one in self.sources}}

    def batch(self, seed: int, step: int, device: torch.device) -> Chips:
        """Make a batch; on the CPU, so that every device learns from the same."""
        del device  # the loop moves it
        return draw_chips(self.lessons, self.config, seed, step, self.sources)

    def loss(self, module: nn.Module, batch: Chips) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted sum of what the network learns by, and its parts before they are weighted."""
        assert isinstance(module, MarsPretraining)
        if self.teacher_weights is None and module.training:
            module.teacher.follow(module.mars.encoder_rgb, MOMENTUM)
        answer: MarsAnswer = module.mars(batch.rgb, batch.sar, batch.mask)
        parts = {name: batch.valid.new_zeros((), dtype=torch.float32) for name in _PARTS}
        parts["rebuilt"] = rebuilding_loss(answer, batch, batch.mask)
        if answer.rgb_tokens is not None:
            parts["taught"] = distillation_loss(answer.rgb_tokens, module.teacher(batch.rgb))
        contrasted = parts["rebuilt"].new_zeros(())
        if answer.rgb_pyramid is not None and answer.sar_pyramid is not None:
            # Whole images, before the modalities attend to each other: else masks or whispers give them away.
            contrast = cross_granularity_loss(
                module.mars.encoder_rgb.normalise(answer.rgb_pyramid[-1][batch.whole]),
                module.mars.encoder_sar.normalise(answer.sar_pyramid[-1][batch.whole]),
                self.contrast,
                valid=shown_tokens(batch.valid[batch.whole]),
                gather=True,
            )
            parts |= {name: getattr(contrast, name) for name in ("patch", "image", "hierarchical")}
            contrasted = contrast.total
            if not self.config.reference_compat:
                parts["filled"] = module.mars.filling_loss(answer)
                parts["guessed"] = guessing_loss(module.mars, batch, self.lessons.alone)
        weighted = [getattr(self.weights, name) * parts[name] for name in _WHOLE_PARTS]
        return torch.stack([*weighted, self.weights.contrast * contrasted]).sum(), parts

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Rebuild and retrieve held-out places."""
        assert isinstance(module, MarsPretraining)
        errors, means = [], []
        with _at_rest(module), torch.no_grad():
            for seen in held_out_batches(self.lessons, self.config, device):
                answer = module.mars(seen.rgb, seen.sar, seen.mask)
                errors.append(float(rebuilding_loss(answer, seen, seen.mask)))
                if seen.sar is not None:
                    means.append(image_features(module.mars, seen))
        rebuilt = sum(errors) / len(errors) / (1 if self.lessons.optical else 2)
        if self.lessons.optical:
            return {"score": -rebuilt, "rebuilt": rebuilt}
        rgb, sar = (torch.cat(side) for side in zip(*means, strict=True))
        recall = (_recall_at_1(rgb, sar) + _recall_at_1(sar, rgb)) / 2
        return {"score": recall - rebuilt, "recall_at_1": recall, "rebuilt": rebuilt}


def rebuilding_loss(answer: MarsAnswer, batch: Chips, mask: Tensor) -> Tensor:
    """Return the error of what was rebuilt of hidden pixels, summed over the modalities of the batch."""
    sides = ((batch.rgb, answer.rebuilt_rgb), (batch.sar, answer.rebuilt_sar))
    found = [
        reconstruction_loss(image, rebuilt, mask, batch.valid)
        for image, rebuilt in sides
        if image is not None and rebuilt is not None
    ]
    return torch.stack(found).sum()


def guessing_loss(mars: Mars, batch: Chips, count: int) -> Tensor:
    """Return the error of a whole image of one modality that is rebuilt from the other one alone.

    Args:
        mars: the network.
        batch: of both modalities.
        count: of its chips that are looked at, the first ones of which nothing is hidden.
    """
    assert batch.sar is not None
    rows = batch.whole[:count]
    if not len(rows):
        return batch.rgb.new_zeros(())
    rgb, sar, mask = batch.rgb[rows], batch.sar[rows], batch.mask[rows]
    everything, valid = torch.ones_like(mask), batch.valid[rows]
    if batch.alone == "sar":
        return reconstruction_loss(rgb, mars(None, sar, mask).rebuilt_rgb, everything, valid)
    return reconstruction_loss(sar, mars(rgb, None, mask).rebuilt_sar, everything, valid)


def shown_tokens(valid: Tensor) -> Tensor:
    """Return the tokens of which at least half the pixels hold data, bool (batch, tokens).

    Args:
        valid: bool (batch, 1, height, width).
    """
    return F.avg_pool2d(valid.float(), COARSEST_PX).flatten(1) >= 0.5


def image_features(mars: Mars, batch: Chips) -> tuple[Tensor, Tensor]:
    """Return one unit vector per image and modality, (batch, width), from that modality alone.

    Args:
        mars: the network.
        batch: of both modalities; nothing of it is hidden.
    """
    assert batch.sar is not None
    sides = ((mars.encoder_rgb, batch.rgb), (mars.encoder_sar, batch.sar))
    rgb, sar = (
        F.normalize(F.normalize(encoder.normalise(encoder(images)[-1]), dim=-1).mean(dim=1), dim=-1)
        for encoder, images in sides
    )
    return rgb, sar


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode for a block; afterwards it is as it was."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


def _recall_at_1(queries: Tensor, keys: Tensor) -> float:
    ranks = rank_partners(*(side.double().cpu().numpy() for side in (queries, keys)))
    return recall_at(ranks, (1,))[1]


def held_out_batches(lessons: LessonConfig, config: MarsConfig, device: torch.device) -> Iterator[Chips]:
    """Return batches of drawn places that no lesson holds, each place once."""
    return (_to(batch, device) for batch in _held_out(replace(lessons, reuse=1), config))


@lru_cache(maxsize=1)
def _held_out(lessons: LessonConfig, config: MarsConfig) -> tuple[Chips, ...]:
    return tuple(
        draw_chips(lessons, config, _VALIDATION_SEED, step, stream="held-out")
        for step in range(_VALIDATION_BATCHES)
    )


def _to(batch: Chips, device: torch.device) -> Chips:
    return Chips(
        rgb=batch.rgb.to(device),
        sar=None if batch.sar is None else batch.sar.to(device),
        valid=batch.valid.to(device),
        mask=batch.mask.to(device),
        whole=batch.whole.to(device),
        alone=batch.alone,
    )
