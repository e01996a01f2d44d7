"""Keep the receipt that makes a product exist: written last, on condition that there is none."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from catalog.records import StoredFile
from infra.digests import canonical_json
from infra.errors import ConfigError, DataError, InternalError, NotFoundError
from infra.storage import Storage

RECEIPT_NAME = "receipt.json"
Receipt = TypeVar("Receipt")


def read_receipt(storage: Storage, folder: str, kind: TypeAdapter[Receipt]) -> Receipt | None:
    """Return the receipt of a product; None while the product does not exist.

    Args:
        storage: The store.
        folder: The product's folder, relative to the store's root.
        kind: What its receipt looks like.

    Raises:
        DataError: what is stored there is no such receipt.
    """
    path = f"{folder}/{RECEIPT_NAME}"
    try:
        return kind.validate_json(storage.read(path))
    except NotFoundError:
        return None
    except ValidationError as exc:
        raise DataError(f"{storage.href(path)} is not a receipt; delete the folder and run again") from exc


def seal(storage: Storage, folder: str, receipt: Receipt, kind: TypeAdapter[Receipt]) -> Receipt:
    """Write a product's receipt on condition that there is none.

    Returns:
        The receipt that stands: ours, or the equal one of a run that was faster.

    Raises:
        InternalError: the receipt that stands differs, so what one of the runs made does.
    """
    path = f"{folder}/{RECEIPT_NAME}"
    if storage.write_if_absent(path, canonical_json(kind.dump_python(receipt, mode="json"))):
        return receipt
    standing = read_receipt(storage, folder, kind)
    if standing != receipt:
        raise InternalError(f"{storage.href(path)} stands and differs from this run's receipt")
    return receipt


def discard_unsealed(storage: Storage, folder: str) -> bool:
    """Delete what a run has made of a product, unless the product stands: another run may have sealed it.

    Args:
        storage: The store.
        folder: The product's folder, relative to the store's root.

    Returns:
        Whether it was deleted.
    """
    if storage.exists(f"{folder}/{RECEIPT_NAME}"):
        return False
    storage.delete_folder(folder)
    return True


def store_files(storage: Storage, folder: str, paths: Sequence[Path]) -> None:
    """Copy the local files of a product into its folder, unless the product stands.

    Args:
        storage: The store.
        folder: The product's folder, relative to the store's root.
        paths: Local files; each keeps its name.
    """
    if storage.exists(f"{folder}/{RECEIPT_NAME}"):
        return
    for path in paths:
        storage.write(f"{folder}/{path.name}", path.read_bytes())
    storage.sweep_leftovers(folder)


def translate_scratch_error(exc: OSError, product: str) -> ConfigError:
    """Return what to tell of a product whose files cannot be made in the local scratch folder."""
    return ConfigError(
        f"the files of {product} cannot be made in {tempfile.gettempdir()}: {exc.strerror or exc}; "
        "free some room there, or name another folder in TMPDIR"
    )


def describe_bytes(path: str, data: bytes) -> StoredFile:
    """Describe an object of a product by its name, size and digest."""
    return StoredFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
