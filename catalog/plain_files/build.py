"""Build a static STAC 1.1 catalogue over anyone's GeoTIFF and JPEG 2000 files, which stay where they are."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.plain_files.items import IMAGE_SUFFIXES, Image, SkippedFile, inspect_image, item_from_images
from infra.errors import ConfigError, InputError
from infra.grants import grant_roots
from infra.urls import check_id

_THREADS = 4
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StaticCatalogue:
    """Report what a build made."""

    path: Path
    """The root ``catalog.json``."""
    collection: str
    items: tuple[str, ...]
    """Ids, sorted."""
    skipped: tuple[SkippedFile, ...]
    """Images left out, and why."""


def build_static_catalogue(folder: Path, *, collection: str, out: Path) -> StaticCatalogue:
    """Write a catalogue of one collection over every image below a folder.

    Files of one scene (one name but for the band) become one item with an asset each. Building into a
    catalogue that is there already adds the collection, or replaces it. The folder may afterwards be read
    through the catalogue (``infra.grants``).

    Args:
        folder: Searched with its subfolders for .tif, .tiff and .jp2.
        collection: Id of the collection.
        out: Folder of the catalogue; made when absent.

    Raises:
        InputError: no such folder, nothing usable in it, an unfit id, or ``out`` holds other things.
        ConfigError: ``out`` cannot be written.
    """
    check_id(collection, what="collection id")
    folder, out = folder.expanduser().resolve(), out.expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name the one that holds the images")
    target = out / collection
    _check_target(folder, out, target)
    images, skipped = _inspect_all(folder, out)
    if not images:
        raise InputError(f"no georeferenced image below {folder}; {_summarise(skipped)}")
    items = _make_items(images, folder, out, collection)
    try:
        _write(items, collection, out, target)
    except OSError as exc:
        raise ConfigError(f"{out} cannot be written: {exc.strerror}; choose another --out") from exc
    _grant(out, folder)
    for file in skipped:
        logger.warning("%s is left out: %s", file.path, file.reason)
    return StaticCatalogue(
        path=out / "catalog.json",
        collection=collection,
        items=tuple(item["id"] for item in items),
        skipped=tuple(skipped),
    )


def _check_target(folder: Path, out: Path, target: Path) -> None:
    if out == folder:
        raise InputError(f"--out {out} is the folder of the images; name another, e.g. {folder}-stac")
    if folder == target or folder.is_relative_to(target):
        raise InputError(f"the collection would be written over the images in {target}; name another --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    is_catalogue = _read_json(out / "catalog.json").get("type") == "Catalog"
    # A catalogue beside its own images moves together with them; elsewhere it starts in a folder of its own.
    beside_images = folder.is_relative_to(out) and not (out / "catalog.json").exists()
    if out.is_dir() and any(out.iterdir()) and not is_catalogue and not beside_images:
        raise InputError(f"--out {out} holds other things and no STAC catalogue; name an empty or new folder")
    if target.exists() and (
        _read_json(target / "collection.json").get("type") != "Collection"
        or any(file.is_file() and file.suffix != ".json" for file in target.rglob("*"))
    ):
        raise InputError(f"{target} holds more than a STAC collection; name another --out or --collection")


def _inspect_all(folder: Path, out: Path) -> tuple[list[Image], list[SkippedFile]]:
    paths = sorted(_image_files(folder, out))
    with ThreadPoolExecutor(_THREADS) as pool:
        inspected = list(pool.map(inspect_image, paths))
    images = [entry for entry in inspected if isinstance(entry, Image)]
    return images, [entry for entry in inspected if isinstance(entry, SkippedFile)]


def _image_files(folder: Path, out: Path) -> Iterator[Path]:
    inner = out if out.is_relative_to(folder) else None
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        is_image = path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        if is_image and not hidden and not (inner and path.is_relative_to(inner)):
            yield path


def _make_items(images: Sequence[Image], folder: Path, out: Path, collection: str) -> list[dict[str, Any]]:
    scenes: dict[tuple[Path, str], list[Image]] = defaultdict(list)
    for image in images:
        scenes[image.path.parent, image.scene].append(image)
    ids = _name_scenes(scenes, folder)
    related = out.is_relative_to(folder) or folder.is_relative_to(out)
    items = []
    for key, members in scenes.items():
        item_folder = out / collection / ids[key]
        hrefs = {
            image.path: os.path.relpath(image.path, item_folder) if related else str(image.path)
            for image in members
        }
        items.append(item_from_images(members, identifier=ids[key], collection=collection, hrefs=hrefs))
    return sorted(items, key=lambda item: str(item["id"]))


def _name_scenes(scenes: Iterable[tuple[Path, str]], folder: Path) -> dict[tuple[Path, str], str]:
    """Name each scene by its file name, with as many folders before it as it takes to be unique."""
    keys = list(scenes)
    names = {key: [key[1]] for key in keys}
    for depth in range(1, 1 + max((len(key[0].relative_to(folder).parts) for key in keys), default=0)):
        counts = Counter("_".join(parts) for parts in names.values())
        for key, parts in names.items():
            above = key[0].relative_to(folder).parts
            if counts["_".join(parts)] > 1 and len(above) >= depth:
                names[key] = [above[-depth], *parts]
    ids = {key: check_id(_plain("_".join(parts)), what="item id") for key, parts in names.items()}
    twice = [name for name, count in Counter(ids.values()).items() if count > 1]
    if twice:
        raise InputError(f"several scenes would be called {twice[0]!r}; rename their files or folders")
    return ids


def _plain(name: str) -> str:
    kept = "".join(char if char.isalnum() or char in "._-" else "-" for char in name)
    while ".." in kept:
        kept = kept.replace("..", ".")
    return kept.strip(".-") or "scene"


def _write(items: Sequence[Mapping[str, Any]], collection: str, out: Path, target: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{collection}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for item in items:
        _write_json(partial / item["id"] / f"{item['id']}.json", item)
    _write_json(partial / "collection.json", _collection(items, collection))
    # The old collection is moved aside, not deleted, until the new one stands.
    old = out / f".{collection}.{os.getpid()}.old"
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    _write_json(out / "catalog.json", _catalogue(_read_json(out / "catalog.json"), collection))


def _collection(items: Sequence[Mapping[str, Any]], collection: str) -> dict[str, Any]:
    boxes = [item["bbox"] for item in items]
    times = sorted(
        time
        for item in items
        for key in ("datetime", "start_datetime", "end_datetime")
        if (time := item["properties"].get(key))
    )
    crosses = any(west > east for west, _, east, _ in boxes)
    west, east = (-180.0, 180.0) if crosses else (min(b[0] for b in boxes), max(b[2] for b in boxes))
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection,
        "title": collection,
        "description": f"{len(items)} scenes over image files, catalogued by terraloom stac",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[west, min(b[1] for b in boxes), east, max(b[3] for b in boxes)]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": [
            _link("root", "../catalog.json"),
            _link("parent", "../catalog.json"),
            *(
                _link("item", f"./{item['id']}/{item['id']}.json", media="application/geo+json")
                for item in items
            ),
        ],
    }


def _catalogue(old: Mapping[str, Any], collection: str) -> dict[str, Any]:
    children = {str(link.get("href")) for link in old.get("links") or () if link.get("rel") == "child"}
    children.add(f"./{collection}/collection.json")
    return {
        "type": "Catalog",
        "stac_version": "1.1.0",
        "id": str(old.get("id") or "image-files"),
        "title": str(old.get("title") or "Image files"),
        "description": str(old.get("description") or "Image files, catalogued by terraloom stac"),
        "links": [
            _link("root", "./catalog.json"),
            *(_link("child", href) for href in sorted(children)),
        ],
    }


def _link(rel: str, href: str, media: str = "application/json") -> dict[str, str]:
    return {"rel": rel, "href": href, "type": media}


def _grant(out: Path, folder: Path) -> None:
    if folder.is_relative_to(out):
        return
    try:
        grant_roots(out, [folder])
    except OSError as exc:
        logger.warning(
            "%s may not name files in %s: the permission could not be kept (%s); allow that folder as an "
            "extra root, or set XDG_STATE_HOME to a folder you can write",
            out,
            folder,
            exc.strerror,
        )


def _summarise(skipped: Sequence[SkippedFile]) -> str:
    if not skipped:
        return f"files ending in {', '.join(IMAGE_SUFFIXES)} are looked for"
    counts = Counter(file.reason for file in skipped)
    return "; ".join(f"{count} left out: {reason}" for reason, count in counts.most_common(3))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    partial.replace(path)
