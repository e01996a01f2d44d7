"""Find and remove what killed runs left behind."""

from __future__ import annotations

import datetime as dt
import json
import socket
from dataclasses import dataclass

from catalog.cubes import receipts as cubes
from catalog.embeddings import plan as embeddings
from catalog.models import plan as models
from catalog.osm import plan as osm
from catalog.receipts import RECEIPT_NAME
from catalog.registrations import plan as registrations
from infra.storage import Storage, process_lives

PRODUCT_FOLDERS = (
    cubes.PRODUCTS_FOLDER,
    osm.PRODUCTS_FOLDER,
    registrations.PRODUCTS_FOLDER,
    embeddings.PRODUCTS_FOLDER,
    models.PRODUCTS_FOLDER,
)
RUNS_FOLDER = "runs"
LEASE_NAME = "lease.json"
"""A run at work keeps ``runs/<name>/lease.json``, with its host and process."""
_FOREIGN_LEASE_LASTS = dt.timedelta(hours=24)
"""A lease of another machine, whose processes cannot be seen from here, is believed that long."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """Tell what was, or would be, removed."""

    products: tuple[str, ...]
    """Folders of products without a receipt."""
    size: int
    """Bytes they held."""
    live_runs: tuple[str, ...]
    """Runs at work; while there is one, unfinished products are left alone."""


def collect_garbage(storage: Storage, *, dry_run: bool) -> Swept:
    """Remove products without a receipt, half-written files, and leases of dead runs.

    A product with a receipt is never touched.

    Args:
        storage: The store.
        dry_run: Only look.
    """
    live, dead = _read_leases(storage)
    folders = [f"{kind}/{name}" for kind in PRODUCT_FOLDERS for name in storage.list_folders(kind)]
    doomed = [] if live else [path for path in folders if not storage.exists(f"{path}/{RECEIPT_NAME}")]
    size = sum(entry.size for path in doomed for entry in storage.list_objects(path))
    if not dry_run:
        for path in doomed:
            storage.delete_folder(path)
        storage.sweep_leftovers("")
        for lease in dead:
            storage.delete(lease)
    return Swept(products=tuple(doomed), size=size, live_runs=tuple(live))


def _read_leases(storage: Storage) -> tuple[list[str], list[str]]:
    live: list[str] = []
    dead: list[str] = []
    for run in storage.list_folders(RUNS_FOLDER):
        path = f"{RUNS_FOLDER}/{run}/{LEASE_NAME}"
        if storage.exists(path):
            (live if _is_live(storage, path) else dead).append(path)
    return [path.split("/")[1] for path in live], dead


def _is_live(storage: Storage, path: str) -> bool:
    pid = _pid_here(storage.read(path))
    if pid is not None:
        return process_lives(pid)
    written = next(
        entry.modified for entry in storage.list_objects(path.rpartition("/")[0]) if entry.path == path
    )
    return dt.datetime.now(dt.UTC) - written < _FOREIGN_LEASE_LASTS


def _pid_here(lease: bytes) -> int | None:
    """Return the process that holds a lease; None when it is another machine's, or says nothing."""
    try:
        content = json.loads(lease)
        return int(content["pid"]) if content["host"] == socket.gethostname() else None
    except (ValueError, TypeError, LookupError):
        return None
