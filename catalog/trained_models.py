"""Plan a training, and keep in a store which model came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from catalog.models.plan import MODEL_RECEIPT, ModelPlan
from catalog.product_ids import spell_id
from catalog.receipts import RECEIPT_NAME, read_receipt
from infra.digests import canonical_json, sha256_of_json
from infra.errors import DataError, NotFoundError
from infra.storage import Storage, translate_os_error

ALGORITHM = "train"
ALGORITHM_VERSION = "1"
"""Raised whenever the same request would be trained otherwise."""
WORK_FOLDER = "training"
"""A training's plan, checkpoints and history, in the end its receipt; never swept, for it can be resumed."""
PLAN_NAME = "plan.json"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """Hold one model to be trained, with its identity."""

    id: str
    """Model's name + short hash of algorithm, version, configuration and code."""
    model: str
    entry: str
    """Where the model is made, as its registry says."""
    config: dict[str, Any]
    """Every number of the training."""
    code: str
    """Digest of the sources that take part; 64 hexadecimal digits."""
    digest: str
    """Of all that decides the weights; 64 hexadecimal digits."""

    @property
    def path(self) -> str:
        """Folder of the receipt, relative to the store's root."""
        return f"{WORK_FOLDER}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class TrainingReceipt:
    """Say that a training came to its end, and which model stands for it."""

    id: str
    plan_digest: str
    model: ModelPlan
    steps: int
    best_step: int
    seconds: float
    """Wall clock of the training, all sessions together."""
    device: str
    figures: dict[str, float]
    """What the model's own evaluation says of the weights."""


TRAINING_PLAN = TypeAdapter(TrainingPlan)
TRAINING_RECEIPT = TypeAdapter(TrainingReceipt)


def plan_training(
    model: str, *, entry: str, config: Mapping[str, Any], identity: Mapping[str, Any], code: str
) -> TrainingPlan:
    """Plan a trained model; the same model, numbers and code give the same plan.

    Args:
        model: Its name.
        entry: Where it is made.
        config: Every number of the training.
        identity: Those of them that decide the weights.
        code: Digest of the sources that take part.
    """
    digest = sha256_of_json(
        {
            "algorithm": ALGORITHM,
            "version": ALGORITHM_VERSION,
            "model": model,
            "config": dict(identity),
            "code": code,
        }
    )
    return TrainingPlan(
        id=spell_id(model, digest),
        model=model,
        entry=entry,
        config=dict(config),
        code=code,
        digest=digest,
    )


def keep_plan(plan: TrainingPlan, folder: Path) -> None:
    """Write a plan into its work folder, so that it can be resumed by name.

    Raises:
        ConfigError: the disk is full or may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{PLAN_NAME}.{os.getpid()}.part"
        part.write_bytes(canonical_json(TRAINING_PLAN.dump_python(plan, mode="json")))
        part.replace(folder / PLAN_NAME)
    except OSError as exc:
        raise translate_os_error(exc, str(folder)) from exc


def find_plan(home: Path, name: str) -> TrainingPlan:
    """Read the plan of a training that was begun.

    Args:
        home: Folder of all work folders.
        name: Of the training.

    Raises:
        NotFoundError: no such training; those that there are, are named.
        DataError: its plan cannot be read.
    """
    known = sorted(path.parent.name for path in home.glob(f"*/{PLAN_NAME}"))
    if name not in known:
        there = f"there are: {', '.join(known)}" if known else "none was begun in this store"
        raise NotFoundError(f"training {name!r} is not in {home}; {there}")
    try:
        return TRAINING_PLAN.validate_json((home / name / PLAN_NAME).read_bytes())
    except ValidationError as exc:
        raise DataError(f"{home / name / PLAN_NAME} is not a plan; start the training anew") from exc


def training_receipt(storage: Storage, plan: TrainingPlan) -> TrainingReceipt | None:
    """Return the receipt of a training whose model stands; None while there is none.

    Raises:
        DataError: what is stored there is no receipt.
    """
    receipt = read_receipt(storage, plan.path, TRAINING_RECEIPT)
    if receipt is None or read_receipt(storage, receipt.model.path, MODEL_RECEIPT) is None:
        return None  # a model that was removed is trained again
    return receipt


def keep_training(storage: Storage, receipt: TrainingReceipt) -> TrainingReceipt:
    """Keep which model a training came to, once that stands.

    Two machines that train one plan get weights that differ in their last digits: both models stand, and the
    training is known by the one that came first.

    Args:
        storage: The store.
        receipt: The training's.

    Returns:
        The receipt that stands.
    """
    folder = f"{WORK_FOLDER}/{receipt.id}"
    told = canonical_json(TRAINING_RECEIPT.dump_python(receipt, mode="json"))
    if storage.write_if_absent(f"{folder}/{RECEIPT_NAME}", told):
        return receipt
    standing = read_receipt(storage, folder, TRAINING_RECEIPT)
    if standing is not None and read_receipt(storage, standing.model.path, MODEL_RECEIPT) is not None:
        return standing
    storage.write(f"{folder}/{RECEIPT_NAME}", told)  # its model was removed
    return receipt
