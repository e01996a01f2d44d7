"""Train a model to its end, or until time is up, and make it stand in the store."""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from catalog.models.plan import ModelPlan, plan_model
from catalog.models.product import find_model, write_model
from catalog.trained_models import TrainingPlan, TrainingReceipt, keep_plan, keep_training
from infra.logging import log_progress
from infra.storage import open_storage
from models.training.checkpoints import forget_checkpoints
from models.training.config import read_config
from models.training.curve import draw_curve
from models.training.history import TrainingEvent, read_history, to_line
from models.training.jobs import TrainingJob, run_job
from models.training.loop import TrainingOutcome
from models.training.results import CARD_PAGE_NAME, WEIGHTS_NAME, make_result
from tasks.policies import PIXELS

logger = logging.getLogger(__name__)

RESULT_FOLDER = "result"
_UPDATE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class TrainingPlace:
    """Say where a training computes, and for how long.

    Attributes:
        folder: Where its checkpoints go.
        device: As ``models.training.devices`` names them.
        processes: How many share a step.
        minutes: Wall clock of this session; None for no limit.
    """

    folder: Path
    device: str
    processes: int
    minutes: float | None


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Tell what became of a training.

    Attributes:
        outcome: How the session ended.
        place: Folder of the result, a path or ``s3://`` URI: the product once the training is finished,
            else a folder of its work.
        bytes_written: Of the product; 0 while it does not stand.
        model: Which product; None while it does not stand.
    """

    outcome: TrainingOutcome
    place: str
    bytes_written: int
    model: ModelPlan | None


@task(task_run_name="train-{plan.id}", **PIXELS)
def train_model(store_uri: str, plan: TrainingPlan, place: TrainingPlace) -> TrainedModel:
    """Train a model, resuming what its folder holds; a finished one stands in the store afterwards.

    Args:
        store_uri: The store.
        plan: What is trained.
        place: Where.

    Raises:
        InputError: device, processes or folder do not suit.
        DataError: the loss is not finite any more.
        ConfigError: disk or store are full, or another process trains in the folder.
    """
    keep_plan(plan, place.folder)
    job = TrainingJob(
        entry=plan.entry,
        config=read_config(plan.config),
        folder=place.folder,
        device=place.device,
        minutes=place.minutes,
        processes=place.processes,
    )
    outcome = run_job(job, Announcer(plan))
    files = make_result(job, outcome)
    _announce_result(plan, files, read_history(place.folder))
    if not outcome.finished:
        aside = str(_keep_aside(place.folder, files))
        return TrainedModel(outcome=outcome, place=aside, bytes_written=0, model=None)
    return _keep_product(store_uri, plan, files, outcome, place.folder)


class Announcer:
    """Shows a training while it runs: records for the terminal, progress and figures for Prefect."""

    def __init__(self, plan: TrainingPlan) -> None:
        self._plan = plan
        self._events: list[TrainingEvent] = []
        self._evaluations: list[dict[str, Any]] = []
        self._artifact: Any = create_progress_artifact(
            0.0, key="training", description=f"Training {plan.model}"
        )
        self._updated = 0.0

    def __call__(self, event: TrainingEvent) -> None:
        """Take note of an event."""
        log_progress("train", to_line(event).rstrip())
        self._events.append(event)
        if event.kind == "step":
            self._show_progress(event)
        elif event.kind == "evaluation":
            self._show_evaluation(event)

    def _show_progress(self, event: TrainingEvent) -> None:
        late = time.monotonic() - self._updated >= _UPDATE_S
        if late or event.step == event.steps:
            self._updated = time.monotonic()
            update_progress_artifact(self._artifact, 100.0 * event.step / event.steps)
            logger.info("step %d of %d: loss %.5g", event.step, event.steps, event.values["loss"])

    def _show_evaluation(self, event: TrainingEvent) -> None:
        figures = {
            name: round(value, 6) if math.isfinite(value) else None for name, value in event.values.items()
        }
        self._evaluations.append({"step": event.step, **figures})
        create_table_artifact(
            self._evaluations, key="evaluations", description=f"Evaluations of {self._plan.model}"
        )
        create_markdown_artifact(
            _picture(self._events, self._plan), key="training-curve", description="Losses and scores so far"
        )


def _announce_result(plan: TrainingPlan, files: dict[str, bytes], events: Sequence[TrainingEvent]) -> None:
    """Keep the card with the curve as an artifact of the run."""
    text = f"{files[CARD_PAGE_NAME].decode()}\n{_picture(events, plan)}"
    create_markdown_artifact(text, key="model-card", description=f"What {plan.id} is")


def _picture(events: Sequence[TrainingEvent], plan: TrainingPlan) -> str:
    """Spell the curve as Markdown that needs no other file."""
    picture = base64.b64encode(draw_curve(events, plan.id).encode()).decode()
    return f"![Losses and scores](data:image/svg+xml;base64,{picture})\n"


def _keep_aside(folder: Path, files: dict[str, bytes]) -> Path:
    """Put the result of a training that is not over beside its checkpoints."""
    aside = open_storage(str(folder))
    for name, content in files.items():
        aside.write(f"{RESULT_FOLDER}/{name}", content)
    return folder / RESULT_FOLDER


def _keep_product(
    store_uri: str, plan: TrainingPlan, files: dict[str, bytes], outcome: TrainingOutcome, folder: Path
) -> TrainedModel:
    """Make the model stand, then the training's own receipt; the checkpoints have done their work."""
    storage = open_storage(store_uri)
    model = plan_model(plan.model, hashlib.sha256(files[WEIGHTS_NAME]).hexdigest())
    # Weights that another session has published already keep the card they have.
    written = find_model(storage, model) or write_model(storage, model, files)
    keep_training(
        storage,
        TrainingReceipt(
            id=plan.id,
            plan_digest=plan.digest,
            model=model,
            steps=outcome.steps,
            best_step=outcome.best_step,
            seconds=round(outcome.seconds, 3),
            device=outcome.device,
            figures={name: value for name, value in outcome.figures.items() if math.isfinite(value)},
        ),
    )
    forget_checkpoints(folder)
    place = storage.href(model.path)
    return TrainedModel(outcome=outcome, place=place, bytes_written=written.total_bytes, model=model)
