"""Bring batches of windows to the device; on a GPU while it computes the batch before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.encoding.strips import Strip
from models.encoding.windows import WindowLayout


@dataclass(frozen=True, eq=False)
class Batch:
    """Some windows of one row.

    Attributes:
        starts: first column of each, cells.
        images: modality → float32 (batch, bands, window_px, window_px).
    """

    starts: Sequence[int]
    images: Mapping[str, Tensor]


def cut_batches(strip: Strip, layout: WindowLayout, size: int) -> Iterator[Batch]:
    """Cut a row into batches of windows; those without any pixel of data are left out.

    Args:
        strip: The row.
        layout: The windows.
        size: Windows of a batch, at most.
    """
    seen = np.concatenate([[0], np.cumsum(strip.valid.any(axis=0))])
    stride, edge = layout.stride_px, layout.window_px
    starts = [s for s in layout.col_starts if seen[s * stride + edge] > seen[s * stride]]
    planes = {name: torch.from_numpy(values) for name, values in strip.images.items()}
    parts = -(-len(starts) // size)
    for part in range(parts):  # of nearly one size: a small rest would waste what a batch gains
        chosen = starts[part * len(starts) // parts : (part + 1) * len(starts) // parts]
        images = {
            name: torch.stack([values[..., s * stride : s * stride + edge] for s in chosen])
            for name, values in planes.items()
        }
        yield Batch(chosen, images)


def feed(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield batches on a device; to a GPU the next one travels meanwhile, from pinned memory."""
    if device.type != "cuda":
        for batch in batches:
            yield Batch(batch.starts, {name: image.to(device) for name, image in batch.images.items()})
        return
    side: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: Batch | None = None
    for batch in batches:
        sent = _send(batch, device, side)
        if ahead is not None:
            yield _receive(ahead, device, side)
        ahead = sent
    if ahead is not None:
        yield _receive(ahead, device, side)


def _send(batch: Batch, device: torch.device, side: torch.cuda.Stream) -> Batch:
    with torch.cuda.stream(side):
        images = {
            name: image.pin_memory().to(device, non_blocking=True) for name, image in batch.images.items()
        }
    return Batch(batch.starts, images)


def _receive(batch: Batch, device: torch.device, side: torch.cuda.Stream) -> Batch:
    current = torch.cuda.current_stream(device)
    current.wait_stream(side)
    for image in batch.images.values():
        image.record_stream(current)  # else its memory could be given away while the encoder reads it
    return batch
