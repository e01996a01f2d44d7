"""The models that can be trained: name → where their ``Trainable`` is made."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from infra.errors import InputError

if TYPE_CHECKING:  # names are looked up where torch's weight is not wanted
    from models.training.trainable import Trainable

_DOWNSTREAM_TASKS = (
    "registration", "translation", "mapping", "targets", "buildings", "height", "change", "roads", "damage",
)  # fmt: skip
TRAINABLES: dict[str, str] = {
    "mapglue-tiny": "models.mapglue.training:mapglue_tiny",
    "mars-tiny": "models.mars.stages:mars_tiny",
    "mars-tiny-chips": "tasks.mars_learners:mars_tiny_chips",
    "mars-tiny-missing": "tasks.mars_learners:mars_tiny_missing",
    "mars-tiny-optical": "tasks.mars_learners:mars_tiny_optical",
    **{f"downstream-{task}": f"models.downstream.trainables:{task}" for task in _DOWNSTREAM_TASKS},
}
"""``module:function`` without arguments; imported only when that model is trained."""
CHIP_MODELS = ("mars-tiny-chips", "mars-tiny-missing", "mars-tiny-optical")
"""Those that learn from a folder of chips besides drawn places."""
START_VARIABLE = "TERRALOOM_START"
"""Environment: file of weights that those go on from."""
CHIPS_VARIABLE = "TERRALOOM_CHIPS"
"""Environment: that folder, with files of chips and source files that say where others are."""


def trainable_names() -> tuple[str, ...]:
    """Return the names of the models that can be trained, sorted."""
    return tuple(sorted(TRAINABLES))


def entry_of(name: str) -> str:
    """Return where a model's ``Trainable`` is made.

    Raises:
        InputError: no such model; the nearest name is given.
    """
    if name not in TRAINABLES:
        near = difflib.get_close_matches(name, TRAINABLES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(trainable_names())}"
        raise InputError(f"model {name!r} cannot be trained; {hint}")
    return TRAINABLES[name]


def load_trainable(name: str) -> Trainable:
    """Import and make a model's ``Trainable``.

    Raises:
        InputError: no such model.
    """
    return load_entry(entry_of(name))


def load_entry(entry: str) -> Trainable:
    """Make the ``Trainable`` that ``entry_of`` names; processes of a team are sent this text only."""
    module, _, function = entry.partition(":")
    made: Trainable = getattr(importlib.import_module(module), function)()
    return made
