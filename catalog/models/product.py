"""Make a trained model stand in a store: weights, card, course of the training, picture, the receipt last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from catalog.models.card import read_card
from catalog.models.plan import MODEL_RECEIPT, PRODUCTS_FOLDER, ModelPlan, ModelReceipt, plan_model
from catalog.models.thumbnail import draw_model_thumbnail
from catalog.receipts import RECEIPT_NAME, describe_bytes, read_receipt
from infra.digests import canonical_json
from infra.errors import DataError, InternalError
from infra.provenance import package_versions, project_version
from infra.storage import Storage

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "card.json"
CARD_PAGE_NAME = "MODEL_CARD.md"
HISTORY_NAME = "history.jsonl"
CURVE_NAME = "curve.svg"
THUMBNAIL_NAME = "thumbnail.png"
FILE_NAMES = (WEIGHTS_NAME, CARD_NAME, CARD_PAGE_NAME, HISTORY_NAME, CURVE_NAME)
"""What a training leaves; the last two need not be there."""
_WRITERS = ("pillow",)


def write_model(storage: Storage, plan: ModelPlan, files: Mapping[str, bytes]) -> ModelReceipt:
    """Write a trained model's files, then its receipt, unless it stands.

    The weights decide what the model is. Cards of the same weights may differ, for two trainings do not take
    the same time: the one that comes first is kept.

    Args:
        storage: The store.
        plan: What the model is.
        files: Name → content, as a training leaves them: weights and card at least.

    Returns:
        The receipt that stands.

    Raises:
        DataError: the weights are not those of plan and card, or the card says too little.
        ConfigError: the store is full or may not be written.
    """
    standing = read_receipt(storage, plan.path, MODEL_RECEIPT)
    if standing is not None:
        return standing
    receipt, made = _make(plan, files)
    for name in sorted(made):
        storage.write(f"{plan.path}/{name}", made[name])
    storage.sweep_leftovers(plan.path)
    told = canonical_json(MODEL_RECEIPT.dump_python(receipt, mode="json"))
    if storage.write_if_absent(f"{plan.path}/{RECEIPT_NAME}", told):
        return receipt
    standing = read_receipt(storage, plan.path, MODEL_RECEIPT)
    if standing is None:
        raise InternalError(f"the receipt of {plan.id} vanished while it was written")
    return standing


def list_models(storage: Storage) -> Iterator[ModelReceipt]:
    """Give the receipts of all models that stand in a store, by id.

    Raises:
        DataError: what is stored as a receipt is none.
    """
    for name in sorted(storage.list_folders(PRODUCTS_FOLDER)):
        receipt = read_receipt(storage, f"{PRODUCTS_FOLDER}/{name}", MODEL_RECEIPT)
        if receipt is not None:
            yield receipt


def plan_of(receipt: ModelReceipt) -> ModelPlan:
    """Return the identity of a model that stands."""
    return plan_model(receipt.card.name, receipt.plan_digest)


def _make(plan: ModelPlan, files: Mapping[str, bytes]) -> tuple[ModelReceipt, dict[str, bytes]]:
    """Check what a training left, and draw its picture; returns the receipt and all files."""
    lacking = [name for name in (WEIGHTS_NAME, CARD_NAME, CARD_PAGE_NAME) if name not in files]
    if lacking:
        raise DataError(f"model {plan.id} is not whole: {lacking[0]} is missing; train it anew")
    card = read_card(files[CARD_NAME], f"{CARD_NAME} of {plan.id}")
    found = hashlib.sha256(files[WEIGHTS_NAME]).hexdigest()
    if not (card.name == plan.name and card.weights.sha256 == found == plan.sha256):
        raise DataError(
            f"the card of {plan.id} is of {card.name} with weights {card.weights.sha256[:12]}…, "
            f"and the weights are {found[:12]}…; give the files of one training"
        )
    picture = draw_model_thumbnail(card, files.get(HISTORY_NAME))
    made = dict(files) | {THUMBNAIL_NAME: picture}
    receipt = ModelReceipt(
        id=plan.id,
        plan_digest=plan.sha256,
        files=tuple(describe_bytes(name, made[name]) for name in sorted(made)),
        card=card,
        software={"terraloom": project_version()} | package_versions(_WRITERS),
    )
    return receipt, made
