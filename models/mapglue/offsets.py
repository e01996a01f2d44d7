"""Where each place of one image lies in another that is nearly on it: dense offsets and a robust affine."""

# No postponed annotations: TorchScript reads named tuples by their types.

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Offsets(NamedTuple):
    """Offsets on a grid of cells.

    Attributes:
        xy: float32 (batch, h, w, 2), cells, from a cell of the fixed image to its place in the moving one.
        peak: float32 (batch, h, w), mean cosine of descriptors there, up to 1.
        lead: float32 (batch, h, w), how far the peak stands above the mean of all offsets, in cosines.
        valid: bool (batch, h, w), False without enough valid ground or where the peak lies on the rim.
    """

    xy: Tensor
    peak: Tensor
    lead: Tensor
    valid: Tensor


def local_offsets(fixed: Tensor, moving: Tensor, reach: int, support: int) -> Offsets:
    """Return the best offset of each cell by descriptors averaged over its surroundings.

    Args:
        fixed: float32 (batch, width, h, w), descriptors of length 1, or 0 where not valid.
        moving: likewise.
        reach: offsets of up to so many cells each way are tried.
        support: similarities are averaged over so many cells each way.
    """
    valid0 = (fixed.square().sum(dim=1, keepdim=True) > 0.5).to(fixed.dtype)
    valid1 = (moving.square().sum(dim=1, keepdim=True) > 0.5).to(moving.dtype)
    # Divided by what is valid on both sides: else places near an edge are drawn inwards.
    shared = _box(_similarities(valid0, valid1, reach), support)
    volume = _box(_similarities(fixed, moving, reach), support) / (shared + 0.05)
    ground = _box(valid0, support)
    side = 2 * reach + 1
    peak, index = volume.max(dim=1)
    row, column = torch.div(index, side, rounding_mode="floor"), index % side
    inner = (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    whole = torch.stack([column, row], dim=-1) - reach
    part = torch.where(inner[..., None], _vertex(volume, index, side), torch.zeros_like(whole))
    lead = peak - volume.mean(dim=1)
    return Offsets(whole + part, peak, lead, inner & (ground[:, 0] > 0.5) & (peak > 0))


def _similarities(fixed: Tensor, moving: Tensor, reach: int) -> Tensor:
    """Return cosines under each offset, row by row, float32 (batch, offsets, h, w)."""
    height, width = fixed.shape[2], fixed.shape[3]
    # Channels last: each cosine then reads one run of memory.
    still = fixed.permute(0, 2, 3, 1).contiguous()
    padded = F.pad(moving, [reach, reach, reach, reach]).permute(0, 2, 3, 1).contiguous()
    rows = []
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            rows.append((still * padded[:, i : i + height, j : j + width]).sum(dim=-1))
    return torch.stack(rows, dim=1)


def _box(maps: Tensor, reach: int) -> Tensor:
    size = 2 * reach + 1
    rows = F.avg_pool2d(maps, [1, size], [1, 1], [0, reach])
    return F.avg_pool2d(rows, [size, 1], [1, 1], [reach, 0])


def _vertex(volume: Tensor, index: Tensor, side: int) -> Tensor:
    """Return where the paraboloid through the peak and its eight neighbours has its top.

    Both axes at once: along an oblique edge each axis by itself points off the ridge.

    Returns:
        float32 (batch, h, w, 2), x and y, at most 0.6 either way.
    """
    last = volume.shape[1] - 1
    around: list[Tensor] = []
    for step in (0, -1, 1, -side, side, -side - 1, side + 1, -side + 1, side - 1):
        around.append(torch.gather(volume, 1, (index + step).clamp(0, last)[:, None])[:, 0])
    middle, left, right, above, below = around[0], around[1], around[2], around[3], around[4]
    bend_x = (2 * middle - left - right).clamp_min(1e-6)
    bend_y = (2 * middle - above - below).clamp_min(1e-6)
    twist = -0.25 * (around[5] + around[6] - around[7] - around[8])
    twist = torch.minimum(
        torch.maximum(twist, -0.9 * torch.sqrt(bend_x * bend_y)), 0.9 * torch.sqrt(bend_x * bend_y)
    )
    slope_x, slope_y = 0.5 * (right - left), 0.5 * (below - above)
    size = bend_x * bend_y - twist**2
    part_x = (bend_y * slope_x - twist * slope_y) / size
    part_y = (bend_x * slope_y - twist * slope_x) / size
    return torch.stack([part_x, part_y], dim=-1).clamp(-0.6, 0.6)


def fit_affine(
    source: Tensor, target: Tensor, weight: Tensor, widths_px: list[float]
) -> tuple[Tensor, Tensor]:
    """Return the affine most points agree on, and how far each agrees.

    Weights of Geman and McClure's kind, their width drawn in step by step, so that the wrong ones lose
    hold without a random search: the answer is the same every time.

    Args:
        source: float32 (batch, n, 2).
        target: float32 (batch, n, 2).
        weight: float32 (batch, n), at least 0.
        widths_px: of the residuals that count, from wide to narrow.

    Returns:
        ``target_from_source`` float32 (batch, 2, 3); agreement float32 (batch, n), 0 to 1.
    """
    middle = source.mean(dim=1, keepdim=True)
    spread = source.std(dim=1, keepdim=True).mean(dim=2, keepdim=True).clamp_min(1e-3)
    rows = torch.cat([(source - middle) / spread, torch.ones_like(source[..., :1])], dim=2)
    agreement = torch.ones_like(weight)
    small = 1e-4 * torch.eye(3, device=source.device, dtype=source.dtype)
    solution = torch.zeros(source.shape[0], 3, 2, device=source.device, dtype=source.dtype)
    for width in widths_px:
        held = (weight * agreement)[..., None]
        share = held / held.sum(dim=1, keepdim=True).clamp_min(1e-9)
        normal = rows.transpose(1, 2) @ (share * rows) + small
        # Pulled towards no motion, where too few points hold it.
        right = rows.transpose(1, 2) @ (share * target) + small @ torch.cat(
            [spread * torch.eye(2, device=source.device).expand(source.shape[0], 2, 2), middle], dim=1
        )
        solution = torch.linalg.solve(normal, right)
        residual = (rows @ solution - target).square().sum(dim=2)
        agreement = (1 + residual / width**2) ** -2
    linear = solution[:, :2].transpose(1, 2) / spread
    shift = solution[:, 2] - (linear @ middle.transpose(1, 2))[..., 0]
    return torch.cat([linear, shift[..., None]], dim=2), agreement
