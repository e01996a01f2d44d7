"""Read pairs that lie as the MapData set does: ``<site>/{1,2,3}/{L,R}/<the same name>``.

Both images of a pair lie on one another; ``R`` is the fixed and ``L`` the moving one. Sites are folders
whose names are digits.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from catalog.pairs.pictures import SUFFIXES, read_picture
from catalog.pairs.records import ImagePair, PairSource
from infra.errors import DataError


def find_map_data(folder: Path) -> tuple[PairSource, ...]:
    """Find all pairs below a folder; a pair's class is the number.

    A pair's id is ``<site>/<number>/<name>``; where several sites have that name, the path of its site
    comes instead.

    Raises:
        DataError: an image has no partner of its name on the other side, or two.
    """
    # By either side: a set that lacks one must not be passed over.
    sides = (path for side in ("L", "R") for path in folder.rglob(side) if path.is_dir())
    sets = sorted({path.parent for path in sides if _is_set(path.parent)})
    names = Counter(map(_set_name, sets))
    return tuple(
        source
        for one in sets
        for source in _pair_up(
            one, _set_name(one) if names[_set_name(one)] == 1 else one.relative_to(folder).as_posix()
        )
    )


def _set_name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _is_set(folder: Path) -> bool:
    return folder.name in {"1", "2", "3"} and folder.parent.name.isdecimal()


def _pair_up(folder: Path, prefix: str) -> list[PairSource]:
    moving, fixed = _images(folder / "L"), _images(folder / "R")
    alone = sorted(moving.keys() ^ fixed.keys())
    if alone:
        raise DataError(
            f"{folder} has the image {alone[0]!r} on one side only ({len(alone)} such in all); "
            "expected the same names in L and R."
        )
    number = folder.name
    return [
        PairSource(name, number, partial(_read, name, number, fixed[stem], moving[stem]))
        for stem in sorted(moving)
        for name in [f"{prefix}/{stem}"]
    ]


def _images(side: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(side.iterdir()) if side.is_dir() else []:
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"{path} and {found[path.stem]} have one name; expected one image on each side.")
        found[path.stem] = path
    return found


def _read(name: str, number: str, fixed_path: Path, moving_path: Path) -> ImagePair:
    fixed, moving = read_picture(fixed_path), read_picture(moving_path)
    if fixed.pixels.shape[:2] != moving.pixels.shape[:2]:
        raise DataError(
            f"{fixed_path} has {fixed.pixels.shape[:2]} pixels, {moving_path} {moving.pixels.shape[:2]}; "
            "expected images that lie on one another."
        )
    return ImagePair(
        id=name,
        kind=number,
        fixed=fixed.pixels,
        moving=moving.pixels,
        fixed_valid=fixed.valid,
        moving_valid=moving.valid,
        fixed_from_moving=np.eye(3),
    )
