"""Name the weights that scenes are encoded with: their digest, and the model that says what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalog.models.card import read_card
from catalog.models.plan import ModelPlan, plan_model
from catalog.models.product import CARD_NAME, WEIGHTS_NAME, list_models, plan_of
from infra.errors import DataError, InputError
from infra.storage import open_storage
from models.encoding.encoders import digest_weights


@dataclass(frozen=True, kw_only=True)
class NamedEncoder:
    """Say which weights an encoder has, and where their model is to be had."""

    digest: str | None = None
    """SHA-256 of their file; None for an encoder without any."""
    model: ModelPlan | None = None
    """What embeddings derive from besides their scenes; None for an encoder without weights."""
    shipped: str | None = None
    """Name of the model that comes with the package and has them."""
    result: Path | None = None
    """Folder that a training has left, which holds them. None for both: the model stands in the store."""


def name_encoder(store_uri: str, name: str, weights: str | None) -> NamedEncoder:
    """Return what an item of embeddings says of its model; nothing is written.

    Args:
        store_uri: Root of the store.
        name: Of the encoder.
        weights: File; None for those that come with the encoder.

    Raises:
        InputError: no such encoder or file, none come with it, or nothing says what the file is.
        DataError: the card beside a file is not of its weights.
    """
    digest = digest_weights(name, None if weights is None else Path(weights))
    if digest is None:
        return NamedEncoder()
    if weights is None:
        return NamedEncoder(digest=digest, model=plan_model(name, digest), shipped=name)
    for receipt in list_models(open_storage(store_uri)):
        if receipt.plan_digest == digest:
            return NamedEncoder(digest=digest, model=plan_of(receipt))
    return _name_result(Path(weights), digest)


def _name_result(weights: Path, digest: str) -> NamedEncoder:
    """Name weights that lie in the folder of a training's result, where a card says what they are."""
    card_path = weights.with_name(CARD_NAME)
    if weights.name != WEIGHTS_NAME or not card_path.is_file():
        raise InputError(
            f"nothing says what the weights {weights} are: they stand in no model of the store, and have no "
            f"{CARD_NAME} beside them; give the {WEIGHTS_NAME} of a training's folder, or publish that one "
            "first ('terraloom models publish --result FOLDER')"
        )
    card = read_card(card_path.read_bytes(), str(card_path))
    if card.weights.sha256 != digest:
        raise DataError(
            f"{card_path} is of weights {card.weights.sha256[:12]}…, and {weights} are {digest[:12]}…; "
            "give the files of one training"
        )
    return NamedEncoder(digest=digest, model=plan_model(card.name, digest), result=weights.parent)
