"""Read boxes from a JSON file in COCO's format, as SARDet-100K and UBC have them.

Only ``images`` (``id``, ``file_name``, ``width``, ``height``), ``annotations`` (``id``, ``image_id``,
``category_id``, ``bbox`` as x, y, width, height, ``iscrowd``) and ``categories`` (``id``, ``name``) are
looked at.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.labelled.files import check_inside
from catalog.labelled.records import BoxedImage, LabelledSource
from catalog.pairs.pictures import SUFFIXES, read_picture
from infra.errors import DataError, InputError, NotFoundError

MAX_BYTES = 1_000_000_000
MAX_CLASSES = 10_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class CocoSet:
    """The images of a COCO file.

    Attributes:
        classes: names, in the order of their ids; labels are indices into them.
        sources: one per image, those without boxes too.
        dropped: boxes left out because nothing of them lies in their image, or they have no area.
    """

    classes: tuple[str, ...]
    sources: tuple[LabelledSource[BoxedImage], ...]
    dropped: int


@dataclass(frozen=True)
class _Boxes:
    """One image's checked entry."""

    path: Path
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]


def read_coco(file: Path, images: Path) -> CocoSet:
    """Read a COCO file; images are looked for below a folder and read when they are asked for.

    Boxes that reach beyond their image are cut to it; those without area are left out and counted.

    Args:
        file: the JSON.
        images: folder of its images.

    Raises:
        NotFoundError: there is no such file or folder, or an image is absent.
        InputError: the file is too large.
        DataError: it is broken or wrongly filled, or names an image outside the folder.
    """
    content = _load(file, images)
    names = _read_classes(file, _rows(file, content, "categories"))
    index = {identity: number for number, identity in enumerate(names)}
    entries = _by_id(file, _rows(file, content, "images"), "images")
    _check_names(file, entries.values())
    marked: dict[int, list[tuple[tuple[float, ...], int, bool]]] = defaultdict(list)
    annotations = _rows(file, content, "annotations")
    _by_id(file, [row for row in annotations if "id" in row], "annotations")
    for row in annotations:
        image, kind = _whole(file, row, "image_id"), _whole(file, row, "category_id")
        if image not in entries or kind not in index:
            raise DataError(f"{file} marks an object of class {kind} on image {image}; one is unknown.")
        marked[image].append((_read_box(file, row), index[kind], row.get("iscrowd", 0) in (1, True)))
    sources, kept = [], 0
    for identity, row in entries.items():
        boxes = _clip(file, row, images, marked[identity])
        kept += len(boxes.labels)
        sources.append(LabelledSource(str(row["file_name"]), partial(_read, boxes)))
    return CocoSet(tuple(names.values()), tuple(sources), sum(map(len, marked.values())) - kept)


def _load(file: Path, images: Path) -> dict[str, Any]:
    if not file.is_file() or not images.is_dir():
        raise NotFoundError(f"There is no file {file} or no folder {images}; name both.")
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"{file} has more than {MAX_BYTES:,} bytes; split it.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:  # text that is no UTF-8 is a ValueError too
        raise DataError(f"{file} is no valid JSON: {exc}.") from exc
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no JSON object; expected images, annotations and categories.")
    return content


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _rows(file: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = content.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file} has no list of objects called {name!r}; is it in COCO's format?")
    return rows


def _by_id(file: Path, rows: list[dict[str, Any]], kind: str) -> dict[int, dict[str, Any]]:
    """Return rows by their id; the same object twice would count twice."""
    found: dict[int, dict[str, Any]] = {}
    for row in rows:
        identity = _whole(file, row, "id")
        if identity in found:
            raise DataError(f"{file} has two {kind} of the id {identity}; expected one: number them anew.")
        found[identity] = row
    return found


def _check_names(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Refuse a file that is two images: each would have a part of its boxes only."""
    counts = Counter(str(row.get("file_name")) for row in rows)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count > 1:
        raise DataError(f"{file} names the image {_short(name)} {count} times; join its boxes.")


def _whole(file: Path, row: dict[str, Any], name: str) -> int:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**53) < value < 2**53:
        raise DataError(f"{file} has {_short(value)} for {name}; expected a whole number.")
    return value


def _read_classes(file: Path, rows: list[dict[str, Any]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for row in rows:
        identity, name = _whole(file, row, "id"), row.get("name")
        if not isinstance(name, str) or not name.isprintable() or not 1 <= len(name) <= _LONGEST_NAME:
            raise DataError(f"{file} calls class {identity} {_short(name)}; expected a short line.")
        if identity in names or len(names) >= MAX_CLASSES:
            raise DataError(f"{file} has two classes of the id {identity}, or more than {MAX_CLASSES:,}.")
        names[identity] = name
    return dict(sorted(names.items()))


def _read_box(file: Path, row: dict[str, Any]) -> tuple[float, ...]:
    box = row.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
        raise DataError(f"{file} has the bbox {_short(box)}; expected x, y, width, height in pixels.")
    left, top, width, height = map(float, box)
    return left, top, left + width, top + height


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e7 and math.isfinite(value)


def _clip(
    file: Path,
    row: dict[str, Any],
    images: Path,
    marked: list[tuple[tuple[float, ...], int, bool]],
) -> _Boxes:
    width, height = _whole(file, row, "width"), _whole(file, row, "height")
    if min(width, height) < 1:
        raise DataError(f"{file} says that an image has {width} × {height} pixels; expected 1 or more.")
    boxes = np.array([box for box, _, _ in marked], np.float64).reshape(-1, 4)
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    labels = np.array([label for _, label, _ in marked], np.int64)
    crowd = np.array([many for _, _, many in marked], np.bool_)
    path = _find_image(file, row.get("file_name"), images)
    return _Boxes(path, (height, width), boxes[kept], labels[kept], crowd[kept])


def _find_image(file: Path, named: object, images: Path) -> Path:
    if not isinstance(named, str) or "\0" in named or Path(named).suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{file} names the image {_short(named)}; expected a file's name ending in {', '.join(SUFFIXES)}."
        )
    try:
        path = check_inside(images / named, images)
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as exc:  # too long, no UTF-8, a link to itself
        if isinstance(exc, DataError):
            raise
        raise DataError(f"{file} names the image {_short(named)}, which is no file's name: {exc}.") from exc
    if not there:
        raise NotFoundError(f"{file} names the image {named!r}, which is absent below {images}.")
    return path


def _read(boxes: _Boxes) -> BoxedImage:
    picture = read_picture(boxes.path)
    if picture.pixels.shape[:2] != boxes.size:
        raise DataError(
            f"{boxes.path} has {picture.pixels.shape[1]} × {picture.pixels.shape[0]} pixels, its boxes "
            f"lie in {boxes.size[1]} × {boxes.size[0]}; expected as many."
        )
    return BoxedImage(picture, boxes.boxes, boxes.labels, boxes.crowd)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
