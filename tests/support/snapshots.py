"""Reduce a store and its catalogue to values that can be compared."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from catalog.client import SearchQuery, open_catalogue

_CLOCKS = ("created", "updated")


def store_tree(store: Path) -> dict[str, str]:
    """Return path → SHA-256 of every file of a store but the run records and the catalogue."""
    return {
        path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and path.relative_to(store).parts[0] != "runs"
        and not path.name.startswith("catalogue.sqlite")
    }


def copy_store(store: Path, copy: Path) -> Path:
    """Copy products and catalogue, no run records; a run that writes to the store meanwhile does no harm."""
    shutil.copytree(store, copy, ignore=shutil.ignore_patterns("runs", "catalogue.sqlite*"))
    with (
        closing(sqlite3.connect(store / "catalogue.sqlite")) as source,
        closing(sqlite3.connect(copy / "catalogue.sqlite")) as target,
    ):
        source.backup(target)
    return copy


def read_items(store: Path) -> dict[str, dict[str, Any]]:
    """Return id → item of a store's own catalogue, as it stands."""
    client = open_catalogue(str(store / "catalogue.sqlite"))
    try:
        return {item["id"]: item for item in client.search(SearchQuery())}
    finally:
        client.close()


def comparable_items(store: Path) -> dict[str, dict[str, Any]]:
    """Return id → item without what names the one run (clocks, link to it), the store's place taken out."""
    items = {}
    for identifier, item in read_items(store).items():
        text = json.dumps(item).replace(str(store), "<store>")
        items[identifier] = json.loads(text)
        for clock in _CLOCKS:
            items[identifier]["properties"].pop(clock, None)
        items[identifier]["links"] = [
            link for link in items[identifier]["links"] if link["rel"] != "processing-execution"
        ]
    return items


def pixel_checksums(store: Path) -> dict[str, str]:
    """Return path → checksum of every shard of every cube, as the receipts state them."""
    found = {}
    for receipt in sorted(store.glob("scenes/*/receipt.json")):
        content = json.loads(receipt.read_text())
        for file in content["files"]:
            if "/c/" in file["path"]:
                found[f"{content['id']}/{file['path']}"] = file["sha256"]
    return found


def receipts(store: Path) -> dict[str, dict[str, Any]]:
    """Return cube id → receipt."""
    return {
        path.parent.name: json.loads(path.read_text()) for path in sorted(store.glob("scenes/*/receipt.json"))
    }
