"""The nine tasks by name."""

from __future__ import annotations

import dataclasses

from infra.errors import InputError
from models.downstream.before_after import CHANGE, DAMAGE
from models.downstream.detection import DetectionTask
from models.downstream.height import HEIGHTS
from models.downstream.labelled import DataConfig
from models.downstream.land import MAPPING, ROADS
from models.downstream.objects import BUILDINGS, TARGETS
from models.downstream.registration import REGISTRATION
from models.downstream.segmentation import SegmentationTask, tell_second
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


def fit_task(task: Task, data: DataConfig | None) -> Task:
    """Return a task with the classes of a labelled set, and asked for what the set's images can show.

    Raises:
        InputError: the task has no classes, or figures that another number of them has not.
    """
    if data is None:
        return task
    if isinstance(task, SegmentationTask) and task.shown and not data.radar:
        task = dataclasses.replace(task, shown={}, headline="miou")
    if not data.classes:
        return task
    if not isinstance(task, SegmentationTask | DetectionTask):
        raise InputError(f"The task {task.name!r} has no classes; leave out {', '.join(data.classes)}.")
    two = isinstance(task, SegmentationTask) and task.figures is tell_second
    if len(set(data.classes)) != len(data.classes) or (two and len(data.classes) != 2):
        raise InputError(
            f"The task {task.name!r} is given the classes {', '.join(data.classes)}; expected different names"
            + (", two of them." if two else ".")
        )
    title = f"{task.name.capitalize()} in classes of one's own: {', '.join(data.classes)}"
    return dataclasses.replace(task, classes=data.classes, title=title)
