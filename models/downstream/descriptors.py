"""Tie points from descriptions of cells, and the matcher that makes them of any two images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.downstream.heads import STRIDE
from models.matching.matches import Matches

MOST_CELLS = 4096
"""Cells of the fixed image that partners are looked for, evenly spread."""
_CHUNK = 512
_SAME_CELLS = 1.5
_SHARPNESS = 20.0
_MULTIPLE = 32


def sample_cells(cells: Tensor, xy: Tensor) -> Tensor:
    """Return descriptions at positions between cells' middles, bilinearly.

    Args:
        cells: (batch, size, height, width).
        xy: (batch, n, 2), pixels of the image.

    Returns:
        (batch, n, size).
    """
    last = xy.new_tensor([cells.shape[3] - 1, cells.shape[2] - 1]).clamp_min(1)
    grid = 2 * ((xy - (STRIDE - 1) / 2) / STRIDE) / last - 1
    found = F.grid_sample(cells, grid[:, :, None].to(cells), align_corners=True, padding_mode="border")
    return found[..., 0].transpose(1, 2)


def match_descriptors(fixed: Tensor, moving: Tensor) -> Matches:
    """Return the cells that are one another's most alike, give or take one, best first.

    Args:
        fixed: unit vectors (size, height, width).
        moving: likewise; its height and width may differ.
    """
    rows = _spread(fixed.shape[1] * fixed.shape[2], fixed.device)
    from_cells, to_cells = fixed.flatten(1).T, moving.flatten(1).T
    partner, alike = _nearest(from_cells[rows], to_cells)
    back, _ = _nearest(to_cells[partner], from_cells)
    kept = _apart(back, rows, fixed.shape[2]) <= _SAME_CELLS
    rows, partner, alike = rows[kept], partner[kept], alike[kept]
    order = alike.argsort(descending=True, stable=True)
    rows, partner, alike = rows[order], partner[order], alike[order]
    fixed_xy = _places(rows, fixed.shape[2])
    moving_xy = _refine(from_cells[rows], moving, partner)
    return Matches(*(_array(value) for value in (fixed_xy, moving_xy, ((alike + 1) / 2).clamp(0, 1))))


def _spread(count: int, device: torch.device) -> Tensor:
    if count <= MOST_CELLS:
        return torch.arange(count, device=device)
    return torch.linspace(0, count - 1, MOST_CELLS, device=device, dtype=torch.float64).round().long()


def _nearest(queries: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
    """Return each query's most alike in the gallery, and how alike; in parts, to bound the memory."""
    found = [(part @ gallery.T).max(dim=1) for part in torch.split(queries, _CHUNK)]
    if not found:
        return queries.new_zeros(0, dtype=torch.int64), queries.new_zeros(0)
    return torch.cat([one.indices for one in found]), torch.cat([one.values for one in found])


def _apart(first: Tensor, second: Tensor, width: int) -> Tensor:
    down, across = first // width - second // width, first % width - second % width
    return (down.float().square() + across.float().square()).sqrt()


def _places(cells: Tensor, width: int) -> Tensor:
    return STRIDE * torch.stack([cells % width, cells // width], dim=1).float() + (STRIDE - 1) / 2


def _refine(wanted: Tensor, moving: Tensor, partner: Tensor) -> Tensor:
    """Return positions (n, 2) between cells: the mean of 3 × 3 around the best, weighted by likeness."""
    height, width = moving.shape[1:]
    steps = torch.tensor([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)], device=partner.device)
    rows, columns = (partner // width)[:, None] + steps[:, 0], (partner % width)[:, None] + steps[:, 1]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    alike = torch.einsum("nd,nkd->nk", wanted, moving.flatten(1).T[index])
    weight = (_SHARPNESS * alike).masked_fill(~inside, -torch.inf).softmax(dim=1)
    offset = torch.stack([(weight * steps[:, 1]).sum(1), (weight * steps[:, 0]).sum(1)], dim=1)
    return _places(partner, width) + STRIDE * offset


def _array(values: Tensor) -> NDArray[np.float32]:
    return values.detach().float().cpu().numpy()


def fill_and_pad(bands: NDArray[np.float32], valid: NDArray[np.bool_]) -> Tensor:
    """Return an image as a network is shown it: by band mean 0 and deviation 1 where it is valid.

    Args:
        bands: (height, width, bands).
        valid: (height, width).

    Returns:
        float32 (1, bands, height, width), 0 where it is not valid, and padded to multiples of 32.
    """
    known = bands[valid].astype(np.float64)
    mean, spread = (known.mean(axis=0), known.std(axis=0)) if len(known) else (0.0, 1.0)
    shown = np.where(valid[..., None], (bands - mean) / (spread + 1e-3), 0).astype(np.float32)
    image = torch.from_numpy(np.ascontiguousarray(shown.transpose(2, 0, 1)))[None]
    return F.pad(image, (0, -image.shape[3] % _MULTIPLE, 0, -image.shape[2] % _MULTIPLE))


def as_bands(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return three bands of an image that has three, else one: their mean; NaN is nodata."""
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which is nodata
        bands = np.atleast_3d(image).astype(np.float32)
    return bands if bands.shape[2] == 3 else bands.mean(axis=2, keepdims=True)
