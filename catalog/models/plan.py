"""Name a trained model by its weights: the same weights are the same product."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import TypeAdapter

from catalog.models.card import MODEL_NAME, SHA256, ModelCard, ModelName, Sha256
from catalog.product_ids import spell_id
from catalog.records import StoredFile
from infra.errors import DataError

PRODUCTS_FOLDER = "models"


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """Hold one trained model's identity."""

    name: ModelName
    """What it is trained and used by, e.g. ``mapglue-tiny``."""
    sha256: Sha256
    """Of the file of weights; 64 hexadecimal digits."""

    @property
    def id(self) -> str:
        """Name + the first digits of the weights' SHA-256."""
        return spell_id(self.name, self.sha256)

    @property
    def path(self) -> str:
        """Folder of the product, relative to the store's root."""
        return f"{PRODUCTS_FOLDER}/{self.id}"


@dataclass(frozen=True, kw_only=True)
class ModelReceipt:
    """Prove that a trained model is whole. Written last."""

    id: str
    plan_digest: str
    """SHA-256 of the weights."""
    files: tuple[StoredFile, ...]
    """Every object of the product but the receipt itself, sorted by path."""
    card: ModelCard
    """What the item is made of: of two cards of the same weights, the one that came first."""
    software: dict[str, str]
    """Package → version that wrote the files."""

    @property
    def total_bytes(self) -> int:
        """Size of all objects together."""
        return sum(file.size for file in self.files)


MODEL_RECEIPT = TypeAdapter(ModelReceipt)


def plan_model(name: str, sha256: str) -> ModelPlan:
    """Name the product of some weights.

    Args:
        name: The model's.
        sha256: Of the file of weights; 64 hexadecimal digits.

    Raises:
        DataError: a name or digest that cannot be part of a path.
    """
    if not re.fullmatch(MODEL_NAME, name):
        raise DataError(f"model name {name!r} cannot be published; expected e.g. 'mapglue-tiny'")
    if not re.fullmatch(SHA256, sha256):
        raise DataError(f"weights of {name} have digest {sha256!r}; expected 64 hexadecimal digits")
    return ModelPlan(name=name, sha256=sha256)


def plan_digest(plan: ModelPlan) -> str:
    """Return what decides the product; 64 hexadecimal digits."""
    return plan.sha256
