"""MaRS's learners with the catalogue's readers handed in: its own code may not import those.

The registry of trainings names these functions, so every process of a training opens its chips itself.
"""

from __future__ import annotations

from pathlib import Path

from models.mars import stages
from models.mars.chips import ReaderChips, join_reader
from models.mars.missing import FillLearner
from models.mars.training import MarsLearner


def open_source(path: Path) -> ReaderChips:
    """Open the chips that a source file speaks of, see ``catalog.chips.sources``.

    Raises:
        NotFoundError: there is no such file.
        DataError: it cannot be used.
    """
    # Only for source files: a machine that learns from files of chips needs neither GDAL nor Zarr.
    from catalog.chips import sources

    reader, told = sources.open_source(path)
    return join_reader(reader, told.statistics, facts=told.facts, digest=told.digest)


def mars_tiny_chips() -> MarsLearner:
    """Return the learner of the tiny preset that sees real chips besides; see ``models.mars.stages``."""
    return stages.mars_tiny_chips(open_source)


def mars_tiny_missing() -> FillLearner:
    """Return the learner of what a missing modality looks like; see ``models.mars.stages``."""
    return stages.mars_tiny_missing(open_source)


def mars_tiny_optical() -> MarsLearner:
    """Return the learner of the optical stage; see ``models.mars.stages``."""
    return stages.mars_tiny_optical(open_source)
