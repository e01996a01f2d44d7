"""Find the pairs of a folder, whichever way they lie there."""

from __future__ import annotations

from pathlib import Path

from catalog.pairs.map_data import find_map_data
from catalog.pairs.pair_json import find_pair_jsons
from catalog.pairs.records import PairSource
from infra.errors import InputError, NotFoundError


def find_pairs(folder: Path) -> tuple[PairSource, ...]:
    """Find the pairs below a folder: those that JSON files describe, else those in the MapData layout.

    Raises:
        InputError: there is no such folder.
        NotFoundError: it holds no pairs.
        DataError: a pair is described wrongly, or an image is absent.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder} to search for image pairs.")
    found = find_pair_jsons(folder) or find_map_data(folder)
    if not found:
        raise NotFoundError(
            f"No image pairs below {folder}; expected JSON files that name a fixed and a moving image, "
            "or <site>/{1,2,3}/{L,R}/<same name>."
        )
    return found
