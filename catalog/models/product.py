"""Make a trained model stand in a store: weights, card, course of the training, picture, the receipt last."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from catalog.models.card import read_card
from catalog.models.plan import MODEL_RECEIPT, PRODUCTS_FOLDER, ModelPlan, ModelReceipt, plan_model
from catalog.models.thumbnail import draw_model_thumbnail
from catalog.receipts import describe_bytes, read_receipt, seal
from infra.digests import canonical_json
from infra.errors import DataError, NotFoundError
from infra.provenance import package_versions, project_version
from infra.storage import Storage

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "card.json"
CARD_PAGE_NAME = "MODEL_CARD.md"
HISTORY_NAME = "history.jsonl"
CURVE_NAME = "curve.svg"
THUMBNAIL_NAME = "thumbnail.png"
_CLAIM_NAME = "claim.json"
FILE_NAMES = (WEIGHTS_NAME, CARD_NAME, CARD_PAGE_NAME, HISTORY_NAME, CURVE_NAME)
"""What a training leaves; the last two need not be there."""
_WRITERS = ("pillow",)


def write_model(storage: Storage, plan: ModelPlan, files: Mapping[str, bytes]) -> ModelReceipt:
    """Write a trained model's files, then its receipt; safe to repeat, and safe beside others who write it.

    The weights decide what the model is. Cards of the same weights may differ, for two trainings do not take
    the same time: the one that comes first is kept, and any other is refused, so that card, files and receipt
    are always of one training.

    Args:
        storage: The store.
        plan: What the model is.
        files: Name → content, as a training leaves them: weights and card at least.

    Returns:
        The receipt that stands.

    Raises:
        DataError: the weights are not those of plan and card, or the card says too little; or the model
            stands, or was begun, with other files.
        ConfigError: the store is full or may not be written.
    """
    receipt, made = _make(plan, files)
    standing = find_model(storage, plan)
    if standing is None:
        standing = _claim(storage, plan, receipt)
    if standing is not None:
        _check_same(plan, standing, receipt)
        return standing
    for name in sorted(made):
        storage.write(f"{plan.path}/{name}", made[name])
    storage.sweep_leftovers(plan.path)
    seal(storage, plan.path, receipt, MODEL_RECEIPT)
    storage.delete(f"{plan.path}/{_CLAIM_NAME}")
    return receipt


def _claim(storage: Storage, plan: ModelPlan, receipt: ModelReceipt) -> ModelReceipt | None:
    """Settle whose files a model gets before the first is written: theirs who come first.

    Without it two writers with different cards would overwrite each other's files, and one's receipt would
    be sealed over the other's. Who has the same receipt to seal writes the same bytes, and may go on.

    Returns:
        The receipt that stands, where the model was sealed meanwhile; None when the files may be written.
    """
    path = f"{plan.path}/{_CLAIM_NAME}"
    told = canonical_json(MODEL_RECEIPT.dump_python(receipt, mode="json"))
    ours = storage.write_if_absent(path, told)
    # A claim goes after its receipt has come: looked for in this order, one of the two is seen.
    standing = find_model(storage, plan)
    if standing is not None:
        if ours:
            storage.delete(path)
        return standing
    held = told if ours else _read_claim(storage, path)
    if held is None:
        return _claim(storage, plan, receipt)  # its owner has sealed the model this moment
    if held != told:
        raise DataError(
            f"model {plan.id} was begun with another card and is not finished; wait for the run that writes "
            "it, or repeat that, or sweep away what it left with 'terraloom gc'"
        )
    return None


def _read_claim(storage: Storage, path: str) -> bytes | None:
    try:
        return storage.read(path)
    except NotFoundError:
        return None


def _check_same(plan: ModelPlan, standing: ModelReceipt, receipt: ModelReceipt) -> None:
    """Refuse files that are not those of the model that stands; who drew the picture makes no difference."""
    kept, given = ({file.path: file.sha256 for file in each.files} for each in (standing, receipt))
    other = [name for name in FILE_NAMES if kept.get(name) != given.get(name)]
    if other:
        raise DataError(
            f"model {plan.id} stands with the same weights and another {' and '.join(other)}; what stands is "
            "kept. Use it as it is, or give the model another name"
        )


def find_model(storage: Storage, plan: ModelPlan) -> ModelReceipt | None:
    """Return the receipt of a model; None while it does not stand.

    Raises:
        DataError: what is stored as a receipt is none.
    """
    return read_receipt(storage, plan.path, MODEL_RECEIPT)


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
