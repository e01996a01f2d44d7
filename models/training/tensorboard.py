"""A training's numbers as TensorBoard event files, where TensorBoard is installed."""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models.training.history import TrainingEvent

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

FOLDER = "tensorboard"
_SECTIONS = {"step": "train", "evaluation": "evaluation"}


class Board:
    """Writes events to TensorBoard's files; nowhere, without a writer."""

    def __init__(self, writer: SummaryWriter | None) -> None:
        self._writer = writer

    def add(self, event: TrainingEvent) -> None:
        """Put down a step's or an evaluation's numbers."""
        section = _SECTIONS.get(event.kind)
        if self._writer is None or section is None:
            return
        for name, value in event.values.items():
            if math.isfinite(value):
                self._writer.add_scalar(f"{section}/{name}", value, event.step)


@contextmanager
def open_board(folder: Path, *, enabled: bool, begin: int = 0) -> Iterator[Board]:
    """Give a board below a training's folder.

    Args:
        folder: The training's.
        enabled: False gives one that writes nowhere.
        begin: First step this session does again; what older files say of it and later is hidden.
    """
    if not enabled or importlib.util.find_spec("tensorboard") is None:
        if enabled:
            logger.info("TensorBoard is not installed: its event files are left out")
        yield Board(None)
        return
    from torch.utils.tensorboard import SummaryWriter  # a second to import; only trainings need it

    writer = SummaryWriter(str(folder / FOLDER), purge_step=begin)
    try:
        yield Board(writer)
    finally:
        writer.close()
