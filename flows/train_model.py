"""Train a model: plan, train, make it stand in the store, publish its item. The model is a parameter."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prefect import flow

from catalog.trained_models import WORK_FOLDER, TrainingPlan, find_plan, plan_training, training_receipt
from flows.model_items import publish_models
from flows.runs import find_places, new_run
from flows.training_params import TrainParams
from flows.training_summary import TrainSummary
from infra.errors import DataError, InputError
from infra.settings import data_home
from infra.storage import Storage, open_storage
from models.training.config import TrainingConfig, read_config
from models.training.jobs import share_of
from models.training.loop import learns_from
from models.training.registry import CHIP_MODELS, CHIPS_VARIABLE, START_VARIABLE, entry_of, load_entry
from models.training.sources import source_digest
from models.training.trainable import Trainable
from tasks.train_model import TrainingPlace
from tasks.train_model import train_model as run_training

logger = logging.getLogger(__name__)


@flow(name="train-model", log_prints=False)
def train_model(params: TrainParams) -> TrainSummary:
    """Train one model to its end, or until time is up; the same request again resumes, or is done already.

    Args:
        params: The request.

    Returns:
        What was trained and where it is; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: the request is wrong; nothing is trained.
        NotFoundError: there is no training of the name to resume.
        DataError: the loss is not finite any more, or the plan to resume was altered.
        ConfigError: store, catalogue or disk cannot be used, or the training runs elsewhere already.
        TransientError: the catalogue did not answer; the model stands, and the same request publishes it.
    """
    with _named({CHIPS_VARIABLE: params.chips, START_VARIABLE: params.start}):
        return _train(params)


def _train(params: TrainParams) -> TrainSummary:
    started = time.perf_counter()
    places = find_places(params.store)
    storage = open_storage(params.store)
    home = work_home(storage)
    plan = plan_request(params, home)
    place = TrainingPlace(
        folder=home / plan.id,
        device=params.device,
        processes=share_of(params.processes, params.device, read_config(plan.config)),
        minutes=params.minutes,
    )
    standing = training_receipt(storage, plan)
    with new_run(storage, params) as run:
        if standing is None:
            try:
                trained = run_training(storage.uri, plan, place)
            except InputError:
                run.discard()  # refused before anything was trained
                raise
            model, summary = trained.model, TrainSummary.of_trained(plan, trained)
        else:
            model = standing.model
            summary = TrainSummary.of_standing(plan, standing, storage.href(model.path))
        told = {"run": run.name, "store": storage.uri, "chips": params.chips, "start": params.start}
        if model is not None:
            publish_models(run, places, [model], trained_here=standing is None)
            told |= {"item": model.id, "catalogue": places.catalogue}
        seconds = time.perf_counter() - started
        return run.finish(summary.model_copy(update={**told, "seconds": seconds}))


def work_home(storage: Storage) -> Path:
    """Return the folder of all trainings' checkpoints: in the store, or with the user where that is S3."""
    if storage.uri.startswith("s3://"):
        return data_home(os.environ) / WORK_FOLDER
    return Path(storage.uri) / WORK_FOLDER


def plan_request(params: TrainParams, home: Path) -> TrainingPlan:
    """Plan a request: the training to resume, else the model's defaults with the request's numbers.

    Args:
        params: The request.
        home: Folder of all trainings' checkpoints.

    Raises:
        InputError: a number out of its range, or the training to resume is of another model.
        NotFoundError: there is no such training.
        DataError: its plan was altered.
    """
    entry = entry_of(params.model)
    code, learner = source_digest(entry), load_entry(entry)
    if params.resume is None:
        return _plan(params.model, entry, learner.defaults.override(params.model_dump()), code, learner)
    begun = find_plan(home, params.resume)
    if begun.model != params.model:
        raise InputError(f"training {begun.id} is of {begun.model}, not of {params.model}; name that one")
    if begun.code != code:
        logger.warning("the models' code was changed since training %s was begun", begun.id)
    # Planned again, for a file's word must not choose which code runs here, nor which folder is written.
    plan = _plan(params.model, entry, read_config(begun.config), begun.code, learner)
    if plan.id != params.resume:
        hint = "name the chips it learned from, or " if params.model in CHIP_MODELS else ""
        raise DataError(f"the plan of training {params.resume} was altered; {hint}start the training anew")
    return plan


def _plan(model: str, entry: str, config: TrainingConfig, code: str, learner: Trainable) -> TrainingPlan:
    identity = config.identity() | {"learns_from": learns_from(learner)}
    return plan_training(model, entry=entry, config=dataclasses.asdict(config), identity=identity, code=code)


@contextmanager
def _named(paths: Mapping[str, str | None]) -> Iterator[None]:
    """Let every process started in the block find files by variable: each makes its learner by name alone."""
    given = {variable: str(Path(path).absolute()) for variable, path in paths.items() if path is not None}
    before = {variable: os.environ.get(variable) for variable in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for variable, value in before.items():
            os.environ.pop(variable)
            if value is not None:
                os.environ[variable] = value
