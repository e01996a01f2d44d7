"""Read pairs that are described by JSON files: two images, hand-picked landmarks, a homography.

Such a file is one object with these names, of which the first two and either landmarks or the matrix are
needed::

    fixed, moving                      names of image files, seen from the JSON file's folder
    landmarks_fixed_xy                 [[x, y], …]
    landmarks_moving_xy                [[x, y], …], the same places in the same order
    fixed_from_moving_row_vector_3x3   [x y 1] @ matrix, over its third number
    pixel_convention                   with "1-based" in it, the first pixel's centre is (1, 1), else (0, 0)
    class                              otherwise the folder's name

Whoever wrote them is not trusted: images must lie within the folder that is searched, and every number is
checked.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catalog.pairs.pictures import read_picture
from catalog.pairs.records import ImagePair, PairSource
from infra.errors import DataError

MAX_BYTES = 2_000_000
"""A larger JSON file is no pair: it is passed over unread."""
MAX_LANDMARKS = 10_000
_FARTHEST_PX = 1e6
_LONGEST_CLASS = 80
_ONE_FROM_ZERO = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class _Described:
    """One file's checked content."""

    path: Path
    kind: str
    fixed: Path
    moving: Path
    landmarks: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    fixed_from_moving: NDArray[np.float64] | None


def find_pair_jsons(folder: Path) -> tuple[PairSource, ...]:
    """Find all pairs that JSON files below a folder describe; other JSON files are passed over.

    A pair's id is its file's name without ``.json``; where several files have that name, its path.

    Raises:
        DataError: a file is broken JSON or wrongly filled, names an image that is absent or outside, or
            cannot be read.
    """
    described = [
        one for path in sorted(folder.rglob("*.json")) if (one := _describe(path, folder)) is not None
    ]
    names = Counter(one.path.stem for one in described)
    sources = []
    for one in described:
        path = one.path.relative_to(folder).with_suffix("")
        name = path.as_posix() if names[path.name] > 1 else path.name
        sources.append(PairSource(name, one.kind, partial(_read, one, name)))
    return tuple(sources)


def _read(one: _Described, name: str) -> ImagePair:
    fixed, moving = read_picture(one.fixed), read_picture(one.moving)
    fixed_xy, moving_xy = one.landmarks or (None, None)
    return ImagePair(
        id=name,
        kind=one.kind,
        fixed=fixed.pixels,
        moving=moving.pixels,
        fixed_valid=fixed.valid,
        moving_valid=moving.valid,
        fixed_landmarks_xy=fixed_xy,
        moving_landmarks_xy=moving_xy,
        fixed_from_moving=one.fixed_from_moving,
    )


def _describe(path: Path, folder: Path) -> _Described | None:
    """Return what a file says; None for one that describes no pair."""
    text = _read_text(path)
    content = None if text is None else _parse(path, text)
    if not isinstance(content, dict) or not {"fixed", "moving"} & content.keys():
        return None
    one_based = "1-based" in str(content.get("pixel_convention", ""))
    landmarks = _landmarks(path, content, one_based=one_based)
    transform = _transform(path, content, one_based=one_based)
    if landmarks is None and transform is None:
        raise DataError(
            f"{path} tells nothing of how its images lie; "
            "expected landmarks_fixed_xy and landmarks_moving_xy, or fixed_from_moving_row_vector_3x3."
        )
    kind = content.get("class", path.resolve().parent.name)
    if not isinstance(kind, str) or not kind.isprintable() or not 1 <= len(kind) <= _LONGEST_CLASS:
        raise DataError(
            f"{path} has the class {_short(kind)}; expected a line of 1 to {_LONGEST_CLASS} letters."
        )
    fixed, moving = (_image(path, content.get(name), name, folder) for name in ("fixed", "moving"))
    return _Described(path, kind, fixed, moving, landmarks, transform)


def _read_text(path: Path) -> bytes | None:
    """Return a file's content; None for what is no file or too large for a pair."""
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_BYTES else None
    except OSError as exc:
        raise DataError(
            f"{path} cannot be read ({exc.strerror}); make it readable, or take it out of the folder."
        ) from exc


def _parse(path: Path, text: bytes) -> object:
    try:
        content: object = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:  # text that is no UTF-8 is a ValueError too
        raise DataError(f"{path} is no valid JSON: {exc}.") from exc
    return content


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


def _image(path: Path, named: object, name: str, folder: Path) -> Path:
    if not isinstance(named, str) or not named or "\0" in named:
        raise DataError(f"{path} names no image as {name!r} but {_short(named)}; expected a file's name.")
    try:
        image = (path.parent / named).resolve()
        there = image.is_file()
    except (OSError, ValueError, RuntimeError) as exc:  # too long, no UTF-8, a link to itself
        raise DataError(f"{path} names the image {_short(named)}, which is no file's name: {exc}.") from exc
    if not image.is_relative_to(folder.resolve()):
        raise DataError(f"{path} names the image {named!r}, which lies outside {folder}; put it inside.")
    if not there:
        raise DataError(f"{path} names the image {named!r}, which is absent; it is looked for at {image}.")
    return image


def _landmarks(
    path: Path, content: dict[str, Any], *, one_based: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    names = ("landmarks_fixed_xy", "landmarks_moving_xy")
    if not any(name in content for name in names):
        return None
    fixed, moving = (_positions(path, name, content.get(name)) for name in names)
    if len(fixed) != len(moving):
        raise DataError(
            f"{path} has {len(fixed)} landmarks in the fixed image and {len(moving)} in the moving one; "
            "expected as many."
        )
    return (fixed - 1, moving - 1) if one_based else (fixed, moving)


def _positions(path: Path, name: str, rows: object) -> NDArray[np.float64]:
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_LANDMARKS:
        raise DataError(f"{path} has {_short(rows)} for {name}; expected 1 to {MAX_LANDMARKS} pairs [x, y].")
    return _numbers(path, name, rows, columns=2)


def _transform(path: Path, content: dict[str, Any], *, one_based: bool) -> NDArray[np.float64] | None:
    name = "fixed_from_moving_row_vector_3x3"
    rows = content.get(name)
    if rows is None:
        return None
    if not isinstance(rows, list) or len(rows) != 3:
        raise DataError(f"{path} has {_short(rows)} for {name}; expected three rows of three numbers.")
    matrix = _numbers(path, name, rows, columns=3).T
    if np.linalg.matrix_rank(matrix / np.abs(matrix).max(initial=1e-300), tol=1e-12) < 3:
        raise DataError(f"{path} has a matrix for {name} that has no inverse: {_short(rows)}.")
    if one_based:
        matrix = np.linalg.inv(_ONE_FROM_ZERO) @ matrix @ _ONE_FROM_ZERO
    return matrix


def _numbers(path: Path, name: str, rows: Sequence[object], columns: int) -> NDArray[np.float64]:
    for row in rows:
        if not isinstance(row, list) or len(row) != columns or not all(map(_is_number, row)):
            raise DataError(
                f"{path} has {_short(row)} in {name}; "
                f"expected {columns} finite numbers no larger than {_FARTHEST_PX:g}."
            )
    return np.array(rows, np.float64)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _FARTHEST_PX and math.isfinite(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
