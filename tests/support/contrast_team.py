"""One process of a team that shares a contrastive loss; started anew, so it stands in a module of its own."""

from __future__ import annotations

from collections.abc import MutableMapping

import torch
import torch.distributed

from models.mars.losses import cross_granularity_loss


def take_part(
    rank: int,
    address: str,
    sides: tuple[torch.Tensor, torch.Tensor],
    results: MutableMapping[int, tuple[float, list[list[float]]]],
    valid: torch.Tensor | None = None,
) -> None:
    """Contrast half of the images against all of them; leaves this process's loss and gradients.

    Args:
        rank: 0 or 1.
        address: where the two meet.
        sides: float64 (4, tokens, width) of each modality.
        results: rank → loss, gradients of its own images.
        valid: bool (4, tokens), where there are data; None for everywhere.
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    mine = [side[2 * rank : 2 * rank + 2].clone().requires_grad_() for side in sides]
    shown = None if valid is None else valid[2 * rank : 2 * rank + 2]
    loss = cross_granularity_loss(mine[0], mine[1], valid=shown, gather=True).total
    slopes = torch.autograd.grad(loss, mine)
    results[rank] = float(loss.detach()), [slope.tolist() for slope in slopes]
    torch.distributed.destroy_process_group()
