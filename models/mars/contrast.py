"""Softmax over many candidates, in float32, without ever holding the whole table of similarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from infra.errors import InputError

TABLE_NUMBERS = 1 << 22
"""Most similarities that are held at a time, per direction: 16 MiB of float32."""


@dataclass(frozen=True)
class Choice:
    """Which rows take part in a contrast.

    Attributes:
        counted: bool (queries,), those that are asked; their own keys must be on offer.
        offered: bool (keys,), those they choose from.
        mean_over: scalar, how many rows the sum is divided by; None for those that are counted. In a team of
            processes it is all processes' rows by the number of processes: then the mean of their losses is
            the loss of one that asks all rows, however unevenly data are missing.
    """

    counted: Tensor
    offered: Tensor
    mean_over: Tensor | None = None

    @property
    def divisor(self) -> Tensor:
        """What the sum is divided by, above 0."""
        rows = self.counted.sum() if self.mean_over is None else self.mean_over
        return torch.where(rows > 0, rows, 1)


def contrast_rows(
    queries: Tensor,
    keys: Tensor,
    targets: Tensor,
    *,
    temperature: float,
    choice: Choice | None = None,
    table: int = TABLE_NUMBERS,
) -> Tensor:
    """Return how hard each query's own key is to tell from all keys: mean cross entropy.

    Rows of similarities are made piece by piece, and once more for the gradient, so memory grows with
    queries + keys and not with their product; the numbers are those of one table.

    Args:
        queries: (n, width) unit vectors.
        keys: (m, width) likewise.
        targets: int64 (n,), 0 to m − 1: which key belongs to each query.
        temperature: similarities are divided by it.
        choice: which queries are asked, and which keys they choose from; None for all.
        table: most similarities that are held at a time; at least one row is.

    Returns:
        Scalar, float64 for float64 queries, else float32, whatever autocast says; 0 where nothing is asked.

    Raises:
        InputError: shapes that do not fit, or a temperature that is not above 0.
    """
    _check(queries, keys, targets, temperature)
    rows = max(table // len(keys), 1)
    if choice is None:
        choice = Choice(
            torch.ones_like(targets, dtype=torch.bool), keys.new_ones(len(keys), dtype=torch.bool)
        )
    with torch.autocast(queries.device.type, enabled=False):
        loss: Tensor = _PiecewiseEntropy.apply(
            at_least_float32(queries), at_least_float32(keys), targets, choice, (temperature, rows)
        )
    return loss


def gather_shares(tensor: Tensor) -> tuple[Tensor, int]:
    """Put all processes' tensors one below the other; gradients go back to the process they belong to.

    Without a process group, or alone in one, the tensor comes back as it is.

    Args:
        tensor: (n, …), of the same shape in every process; all of them must call this.

    Returns:
        (n × processes, …), and the row at which this process's own begin.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return tensor, 0
    if torch.distributed.get_world_size() == 1:
        return tensor, 0
    gathered: Tensor = _Gather.apply(tensor)
    return gathered, torch.distributed.get_rank() * len(tensor)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a tensor in float32, or float64 where it is that."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


class _PiecewiseEntropy(torch.autograd.Function):
    """Mean over the rows that count of logsumexp(q·k / t) − q·k_target / t, over the keys on offer."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's own
        queries: Tensor,
        keys: Tensor,
        targets: Tensor,
        choice: Choice,
        how: tuple[float, int],
    ) -> Tensor:
        temperature, rows = how
        # Not minus infinity: where no key is on offer, a row's total must still be a number.
        barred = torch.zeros_like(keys[:, 0]).masked_fill(~choice.offered, -1e30)
        ends = []
        own = (queries * keys[targets]).sum(1) / temperature
        for piece in torch.split(queries, rows):
            ends.append(torch.logsumexp(piece @ keys.T / temperature + barred, dim=1))
        totals = torch.cat(ends)
        divisor = choice.divisor.to(totals.dtype)
        ctx.save_for_backward(queries, keys, targets, totals, choice.counted, barred, divisor)
        ctx.temperature, ctx.rows = temperature, rows
        return torch.where(choice.counted, totals - own, 0.0).sum() / divisor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:  # noqa: ANN401
        queries, keys, targets, totals, counted, barred, divisor = ctx.saved_tensors
        share = gradient / (divisor * ctx.temperature)
        to_queries, to_keys = torch.empty_like(queries), torch.zeros_like(keys)
        for start in range(0, len(queries), ctx.rows):
            rows = slice(start, start + ctx.rows)
            part = (queries[rows] @ keys.T / ctx.temperature + barred - totals[rows, None]).exp()
            own = torch.arange(len(part), device=part.device)
            part[own, targets[rows]] -= 1
            part *= counted[rows, None]
            to_queries[rows] = part @ keys
            to_keys.addmm_(part.T, queries[rows])
        return to_queries * share, to_keys * share, None, None, None


class _Gather(torch.autograd.Function):
    """All processes' tensors in the order of their ranks."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        del ctx
        shares = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(shares, tensor.contiguous())
        return torch.cat(shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        del ctx
        # Every process's loss looks at this process's rows, so their gradients are summed.
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def _check(queries: Tensor, keys: Tensor, targets: Tensor, temperature: float) -> None:
    if queries.ndim != 2 or keys.ndim != 2 or queries.shape[1] != keys.shape[1]:
        raise InputError(
            f"Queries of shape {tuple(queries.shape)} and keys of shape {tuple(keys.shape)} cannot be "
            "compared; expected (n, width) and (m, width)."
        )
    if targets.shape != queries.shape[:1] or min(len(queries), len(keys)) < 1:
        raise InputError(
            f"{len(queries)} queries, {len(keys)} keys and targets of shape {tuple(targets.shape)} make no "
            "contrast; expected at least one of each, and one target per query."
        )
    if not temperature > 0:
        raise InputError(f"The temperature of a contrast is {temperature}; expected more than 0.")
