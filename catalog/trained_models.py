"""Plan a trained model and make it stand in a store: weights, card, history, the receipt last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from catalog.receipts import RECEIPT_NAME, describe_bytes, read_receipt
from catalog.records import StoredFile
from infra.digests import canonical_json, sha256_of_json
from infra.errors import DataError, InternalError, NotFoundError
from infra.provenance import project_version
from infra.storage import Storage, translate_os_error

ALGORITHM = "train"
ALGORITHM_VERSION = "1"
"""Raised whenever the same request would be trained otherwise."""
PRODUCTS_FOLDER = "models"
WORK_FOLDER = "training"
"""Checkpoints of trainings that are not over, beside the products; never swept, for they can be resumed."""
PLAN_NAME = "plan.json"
_HASH_DIGITS = 12


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
        """Folder of the product, relative to the store's root."""
        return f"{PRODUCTS_FOLDER}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class ModelReceipt:
    """Prove that a trained model is whole. Written last."""

    id: str
    plan_digest: str
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipt itself, sorted by path."""
    steps: int
    best_step: int
    seconds: float
    """Wall clock of the training, all sessions together."""
    device: str
    figures: dict[str, float]
    """What the model's own evaluation says of the weights."""
    software: dict[str, str]
    """Package → version."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)


TRAINING_PLAN = TypeAdapter(TrainingPlan)
MODEL_RECEIPT = TypeAdapter(ModelReceipt)


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
        id=f"{model}-{digest[:_HASH_DIGITS]}",
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


def model_receipt(storage: Storage, plan: TrainingPlan) -> ModelReceipt | None:
    """Return the receipt of a trained model; None while it does not stand.

    Raises:
        DataError: what is stored there is no receipt.
    """
    return read_receipt(storage, plan.path, MODEL_RECEIPT)


def write_model(
    storage: Storage, plan: TrainingPlan, files: Mapping[str, bytes], facts: Mapping[str, Any]
) -> ModelReceipt:
    """Write a trained model's files, then its receipt.

    Two machines that train one plan get weights that differ in their last digits: the first one to come
    is kept, and what it wrote is not touched.

    Args:
        storage: The store.
        plan: What the model is.
        files: Name → content.
        facts: What the receipt says of the training: steps, best_step, seconds, device, figures.

    Returns:
        The receipt that stands.

    Raises:
        ConfigError: the store is full or may not be written.
        InternalError: the receipt vanished while it was written.
    """
    standing = model_receipt(storage, plan)
    if standing is not None:
        return standing
    for name in sorted(files):
        storage.write(f"{plan.path}/{name}", files[name])
    storage.sweep_leftovers(plan.path)
    receipt = ModelReceipt(
        id=plan.id,
        plan_digest=plan.digest,
        files=tuple(describe_bytes(name, files[name]) for name in sorted(files)),
        software={"terraloom": project_version()},
        **facts,
    )
    told = canonical_json(MODEL_RECEIPT.dump_python(receipt, mode="json"))
    if storage.write_if_absent(f"{plan.path}/{RECEIPT_NAME}", told):
        return receipt
    standing = model_receipt(storage, plan)
    if standing is None:
        raise InternalError(f"the receipt of {plan.id} vanished while it was written")
    return standing
