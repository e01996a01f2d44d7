"""The stage that learns what a missing modality looks like, over a network that else stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.mars.lessons import Chips
from models.mars.training import MarsLearner, MarsPretraining, held_out_batches
from models.training.config import TrainingConfig
from models.training.trainable import ModelFacts


@dataclass(frozen=True)
class FillLearner:
    """The guess of each modality's maps from the other's, by chips that show both.

    Nothing else learns: asked with both images, the network answers as before, bit by bit.

    Attributes:
        whole: the learner of the whole network, whose preset, chips and first weights these are.
    """

    whole: MarsLearner

    @property
    def name(self) -> str:
        """The name it is trained by."""
        return self.whole.name

    @property
    def defaults(self) -> TrainingConfig:
        """A training of about half an hour on one core."""
        return TrainingConfig(
            steps=1800, learning_rate=3e-3, warmup_steps=90, weight_decay=0.01, evaluate_every=300
        )

    @property
    def facts(self) -> ModelFacts:
        """What the card says."""
        facts = self.whole.facts
        return replace(
            facts,
            data=(*facts.data, "Only the guess of a missing modality learned; the rest stayed as it began."),
            validation="Drawn places of a seed of their own: filled is the mean squared error of the guessed "
            "maps over the variance of the true ones, 1 for guessing their mean. No score chooses weights: "
            "the last ones are kept.",
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network with its first weights; only the guess is to learn."""
        module = self.whole.build(seed)
        assert isinstance(module, MarsPretraining)
        module.requires_grad_(False)
        module.mars.rgb_from_sar.requires_grad_(True)
        module.mars.sar_from_rgb.requires_grad_(True)
        return module

    def batch(self, seed: int, step: int, device: torch.device) -> Chips:
        """Make a batch; on the CPU, so that every device learns from the same."""
        return self.whole.batch(seed, step, device)

    def loss(self, module: nn.Module, batch: Chips) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return how badly each modality is guessed from the other."""
        assert isinstance(module, MarsPretraining)
        with torch.no_grad():
            seen = module.mars.look(batch.rgb, batch.sar)
        filled = module.mars.filling_loss(seen)
        return filled, {"filled": filled}

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure the guess on held-out drawn places."""
        batches = held_out_batches(self.whole.lessons, self.whole.config, device)
        with torch.no_grad():
            errors = [float(self.loss(module, batch)[0]) for batch in batches]
        return {"filled": sum(errors) / len(errors)}
