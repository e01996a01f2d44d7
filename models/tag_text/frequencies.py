"""Read a table of how often keys occur: GeoLink's JSON, or any of its form."""

from __future__ import annotations

import json
from pathlib import Path

from infra.errors import DataError, NotFoundError

MAX_TABLE_BYTES = 16 << 20
"""GeoLink's table of 2,790 keys has 66 kB; all 100,000 keys of OSM would have some 3 MB."""
_MAX_KEY_LENGTH = 255  # OSM's own bound
_MAX_COUNT = 1 << 53


def load_tag_frequencies(source: Path | bytes) -> dict[str, int]:
    """Read ``{key: count}``; the file may come from anywhere, so everything in it is checked.

    Args:
        source: A JSON file, or its bytes.

    Returns:
        Key → count, at least 1, in the file's order. Keys are as in labels: blanks for inner colons.

    Raises:
        NotFoundError: there is no such file.
        DataError: too large, not JSON, or not a table of counts.
    """
    place = str(source) if isinstance(source, Path) else "table of tag frequencies"
    content = _read(source) if isinstance(source, Path) else source
    if len(content) > MAX_TABLE_BYTES:
        raise DataError(f"{place} has more than {MAX_TABLE_BYTES} bytes; expected JSON {{key: count}}")
    try:
        table = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise DataError(f"{place} is not JSON ({exc}); expected {{key: count}}") from exc
    if not isinstance(table, dict) or not table:
        raise DataError(f"{place} holds no table; expected a JSON object {{key: count}} with some key")
    for key, count in table.items():
        _check_entry(place, key, count)
    return table


def _check_entry(place: str, key: str, count: object) -> None:
    if not key or len(key) > _MAX_KEY_LENGTH:
        raise DataError(f"{place}: a key of {len(key)} characters; expected 1 to {_MAX_KEY_LENGTH}")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count < _MAX_COUNT:
        raise DataError(f"{place}: count of {key[:80]!r} is {str(count)[:40]}; expected a whole number ≥ 1")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TABLE_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as exc:
        raise NotFoundError(f"no file {path}; name a JSON table of tag frequencies, or none") from exc
