"""Name the weights that scenes are encoded with: their digest, and their item in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from catalog.models.plan import plan_model
from catalog.receipts import RECEIPT_NAME
from infra.storage import open_storage
from models.encoding.encoders import digest_weights


@dataclass(frozen=True, kw_only=True)
class NamedEncoder:
    """Say which weights an encoder has."""

    digest: str | None
    """SHA-256 of their file; None for an encoder without any."""
    item: str | None
    """Id of their item; None where the store does not hold them as a model."""
    shipped: str | None
    """Name of the model that comes with the package and has them; None for others."""


def name_encoder(store_uri: str, name: str, weights: str | None) -> NamedEncoder:
    """Return what an item of embeddings says of its model.

    Weights of a file of one's own have an item if the store holds them as a trained model.

    Args:
        store_uri: Root of the store.
        name: Of the encoder.
        weights: File; None for those that come with the encoder.

    Raises:
        InputError: no such encoder or file, or none come with it.
    """
    digest = digest_weights(name, None if weights is None else Path(weights))
    if digest is None:
        return NamedEncoder(digest=None, item=None, shipped=None)
    model = plan_model(name, digest)
    stands = open_storage(store_uri).exists(f"{model.path}/{RECEIPT_NAME}")
    return NamedEncoder(
        digest=digest,
        item=model.id if weights is None or stands else None,
        shipped=name if weights is None else None,
    )
