"""Read tags out of GeoLink's label texts, and number the distinct tags of many features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError


def read_labels(label: str) -> dict[str, str]:
    """Read ``key:value;key:value`` into tags.

    Each piece is split at its first colon. A piece without one, or with a space in front, carries on the
    value before it: OSM values hold semicolons of their own (``cuisine:pizza;kebab``).

    Args:
        label: The text; empty text has no tags.

    Raises:
        InputError: If the text does not begin with a key and a colon.
    """
    pieces: list[str] = []
    for piece in label.split(";"):
        if pieces and (":" not in piece or piece.startswith((" ", ":"))):
            pieces[-1] += ";" + piece
        elif piece:
            pieces.append(piece)
    split = [piece.partition(":") for piece in pieces]
    if any(not key or not colon for key, colon, _ in split):
        raise InputError(f"label {label[:60]!r} does not begin with a key: expected key:value;key:value")
    return {key: value.rstrip(";") for key, _, value in split}


def number_tags(
    tags: Sequence[Mapping[str, str]],
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int32]]:
    """Number the distinct ``key:value`` texts of many features.

    Args:
        tags: Tags of each of n features.

    Returns:
        The distinct texts, sorted; offsets ``(n + 1,)``; ids, those of feature i from offset i to the next,
        by key.
    """
    texts = [f"{key}:{one[key]}" for one in tags for key in sorted(one)]
    names = tuple(sorted(set(texts)))
    places = {name: place for place, name in enumerate(names)}
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in tags], dtype=np.int64)]).astype(np.int64)
    return names, offsets, np.fromiter((places[text] for text in texts), np.int32, len(texts))
