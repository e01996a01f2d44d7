"""One update of the weights: batches forward, gradients back, averaged over all processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from infra.errors import DataError, InputError
from models.training.config import TrainingConfig
from models.training.devices import choose_precision, seed_torch
from models.training.schedule import learning_rate, make_optimiser
from models.training.trainable import Trainable


@dataclass(frozen=True)
class Team:
    """Say which of how many processes this is, and which device is its own."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process keeps the records of all."""
        return self.rank == 0


class _LossOf(nn.Module):
    """A model's loss as a module: whatever parts of the model it uses, gradients meet between processes."""

    def __init__(self, trainable: Trainable, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._trainable = trainable

    def forward(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:  # noqa: ANN401
        loss, parts = self._trainable.loss(self.module, batch)
        return loss, {name: part.detach() for name, part in parts.items()}


@dataclass(frozen=True)
class StepValues:
    """Hold what a step measured, still on the device.

    Attributes:
        step: 1 and up.
        names: Of the numbers.
        numbers: float32 (names,).
    """

    step: int
    names: tuple[str, ...]
    numbers: torch.Tensor


class Learner:
    """One process's module, optimiser and their ways; the weights change with every step."""

    def __init__(self, trainable: Trainable, config: TrainingConfig, team: Team) -> None:
        self.config = config
        self.team = team
        self.precision = choose_precision(config, team.device)
        seed_torch(config.seed, 0)
        self.module = trainable.build(config.seed).to(team.device)
        if not any(weight.requires_grad for weight in self.module.parameters()):
            raise InputError(f"model {trainable.name} has no weights that learn")
        self.optimiser = make_optimiser(self.module, config)
        self._loss: nn.Module = _LossOf(trainable, self.module)

    def join_team(self) -> None:
        """Average gradients with the other processes from now on; called once weights are restored."""
        if self.team.size > 1:
            # A preset may leave weights out of some batches, e.g. by leaving early.
            self._loss = DistributedDataParallel(
                self._loss,
                device_ids=[self.team.device] if self.team.device.type == "cuda" else None,
                find_unused_parameters=True,
            )

    def take_step(self, step: int, batches: Sequence[Any], rows: Sequence[int]) -> StepValues:
        """Update the weights once.

        Args:
            step: 0 and up.
            batches: This process's.
            rows: Their numbers within the training.
        """
        self.module.train()
        rate = learning_rate(self.config, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        found = [
            self._back(batch, row, share=1 / len(rows), meet=row == rows[-1])
            for batch, row in zip(batches, rows, strict=True)
        ]
        learning = [weight for weight in self.module.parameters() if weight.grad is not None]
        norm = nn.utils.clip_grad_norm_(learning, self.config.clip_norm)
        self.optimiser.step()
        names, numbers = (
            tuple(found[0]),
            torch.stack([torch.stack(list(one.values())) for one in found]).mean(0),
        )
        return StepValues(step + 1, (*names, "grad_norm"), torch.cat([numbers, norm.detach().float()[None]]))

    def _back(self, batch: Any, row: int, *, share: float, meet: bool) -> dict[str, torch.Tensor]:  # noqa: ANN401
        """Add a batch's gradients; processes meet at the last batch of a step only."""
        seed_torch(self.config.seed, row)
        alone = not meet and isinstance(self._loss, DistributedDataParallel)
        with self._loss.no_sync() if alone else nullcontext():  # type: ignore[operator]
            with torch.autocast(
                self.team.device.type, self.precision, enabled=self.precision != torch.float32
            ):
                loss, parts = self._loss(batch)
            (loss * share).backward()
        values = {"loss": loss.detach(), **{name: parts[name] for name in sorted(parts) if name != "loss"}}
        return {name: value.float().reshape(()) for name, value in values.items()}


def read_values(values: StepValues, team: Team) -> dict[str, float]:
    """Bring a step's numbers to the host, averaged over all processes.

    Raises:
        DataError: the loss or the gradient is not finite; every process raises it alike.
    """
    numbers = values.numbers
    if team.size > 1:
        torch.distributed.all_reduce(numbers)
        numbers = numbers / team.size
    read = dict(zip(values.names, numbers.tolist(), strict=True))
    for name in ("loss", "grad_norm"):
        if not torch.isfinite(torch.tensor(read[name])):
            raise DataError(
                f"{name} of step {values.step} is {read[name]}: the training has come apart; start it with a "
                "lower --learning-rate, or look at what its batches hold",
                step=values.step,
            )
    return read
