"""The nine tasks by name."""

from __future__ import annotations

from infra.errors import InputError
from models.downstream.before_after import CHANGE, DAMAGE
from models.downstream.height import HEIGHTS
from models.downstream.land import MAPPING, ROADS
from models.downstream.objects import BUILDINGS, TARGETS
from models.downstream.registration import REGISTRATION
from models.downstream.task import Task
from models.downstream.translation import TRANSLATION

TASKS: dict[str, Task] = {
    "registration": REGISTRATION,
    "translation": TRANSLATION,
    "mapping": MAPPING,
    "targets": TARGETS,
    "buildings": BUILDINGS,
    "height": HEIGHTS,
    "change": CHANGE,
    "roads": ROADS,
    "damage": DAMAGE,
}
"""Name → task."""


def find_task(name: str) -> Task:
    """Return a task.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError(f"There is no downstream task {name!r}; choose one of {', '.join(TASKS)}.")
    return TASKS[name]
