"""Decide what becomes of the files that items name when the items are taken elsewhere."""

from __future__ import annotations

import enum
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.server.addresses import is_served
from infra.errors import InputError, NotFoundError
from infra.storage import Storage

ASSETS_FOLDER = "assets"


class AssetMode(enum.StrEnum):
    """Name the choices."""

    KEEP = "keep"
    """Hrefs stay as they are."""
    COPY = "copy"
    """Files of the store are copied beside their item."""
    RELATIVE = "relative"
    """Files of the store are named by the way from the item to them: both move together."""


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Say where the assets of one item are now."""

    assets: dict[str, Any]
    copies: dict[str, str]
    """Path in the target → path in the store, of the files to copy."""


@dataclass(frozen=True, kw_only=True)
class AssetFiles:
    """Place assets by one of the modes.

    Only files of products in our own store are copied or made relative. An item may name any file of this
    machine, and an export must not carry that off; such hrefs, and URLs, stay as they are.
    """

    mode: AssetMode = AssetMode.KEEP
    store: Storage | None = None
    """Whose files are meant; KEEP needs none."""

    def check(self, target: Storage) -> None:
        """Refuse what cannot be done, before anything is written.

        Raises:
            InputError: relative hrefs from one kind of storage, or bucket, to another.
        """
        if self.mode is not AssetMode.RELATIVE or self.store is None:
            return
        if _place_of(self.store.uri)[0] != _place_of(target.uri)[0]:
            raise InputError(
                f"no relative path leads from {target.uri} to {self.store.uri}: use --assets keep or copy"
            )

    def place(self, item: Mapping[str, Any], folder: str, target: Storage) -> Placed:
        """Return the item's assets as they are named from its new folder, and the files that must go there.

        Raises:
            NotFoundError: a file that is to be copied does not exist.
        """
        ours = self._ours(item["assets"])
        if self.store is None or not ours:
            return Placed(assets=dict(item["assets"]), copies={})
        if self.mode is AssetMode.RELATIVE:
            here, there = _place_of(f"{target.uri}/{folder}")[1], _place_of(self.store.uri)[1]
            hrefs = {key: posixpath.relpath(f"{there}/{path}", here) for key, path in ours.items()}
            return Placed(assets=_with_hrefs(item["assets"], hrefs), copies={})
        shared = {tuple(path.split("/")[:2]) for path in ours.values()}
        cut = 2 if len(shared) == 1 else 0  # one product: its own folder need not be told again
        copies: dict[str, str] = {}
        hrefs = {}
        for key, path in ours.items():
            hrefs[key] = f"./{ASSETS_FOLDER}/{_below(path, cut)}"
            for file in self._files(path, f"item {item['id']!r}: asset {key!r}"):
                copies[f"{folder}/{ASSETS_FOLDER}/{_below(file, cut)}"] = file
        return Placed(assets=_with_hrefs(item["assets"], hrefs), copies=copies)

    def _ours(self, assets: Mapping[str, Any]) -> dict[str, str]:
        """Give the assets that are files of our products: key → path in the store."""
        if self.mode is AssetMode.KEEP or self.store is None:
            return {}
        root = self.store.uri
        roots = {root} if "://" in root else {root, str(Path(root).resolve())}
        found = {}
        for key, asset in assets.items():
            href = asset.get("href") if isinstance(asset, dict) else None
            for each in roots:
                if isinstance(href, str) and href.startswith(f"{each}/"):
                    path = href.removeprefix(f"{each}/").rstrip("/")
                    if is_served(path):
                        found[key] = path
        return found

    def _files(self, path: str, what: str) -> list[str]:
        assert self.store is not None
        if self.store.exists(path):
            return [path]
        files = [each.path for each in self.store.list_objects(path)]
        if not files:
            raise NotFoundError(
                f"{what} names {self.store.href(path)}, where nothing is: run 'terraloom map' again"
            )
        return files


def _below(path: str, cut: int) -> str:
    return "/".join(path.split("/")[cut:])


def _with_hrefs(assets: Mapping[str, Any], hrefs: Mapping[str, str]) -> dict[str, Any]:
    return {key: asset | {"href": hrefs[key]} if key in hrefs else asset for key, asset in assets.items()}


def _place_of(uri: str) -> tuple[str, str]:
    """Cut a URI into what relative paths cannot leave (a bucket, this machine), and the path there."""
    if uri.startswith("s3://"):
        bucket, _, path = uri.removeprefix("s3://").partition("/")
        return f"s3://{bucket}", f"/{path}"
    return "", uri
