"""Tell whether an item differs from one that a database has taken apart and put together again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from catalog.database.documents import SERVER_RELS

_STAMPS = frozenset({"created", "updated"})
_EXACT = 1e22
"""Below it, the decimal spelling of a whole floating-point number is its exact value."""


def is_same(sent: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Compare two items in all but ``created``, ``updated`` and the links that servers make.

    Neither needs to be sound: what is malformed differs from what is not.
    """
    return _spell(sent) == _spell(held)


def _spell(item: Mapping[str, Any]) -> str:
    lasting = dict(item)
    if isinstance(item.get("properties"), dict):
        lasting["properties"] = {key: each for key, each in item["properties"].items() if key not in _STAMPS}
    links = item.get("links") or []
    lasting["links"] = [
        each for each in links if not isinstance(each, dict) or each.get("rel") not in SERVER_RELS
    ]
    return json.dumps(_plain(lasting), sort_keys=True, separators=(",", ":"), default=str)


def _plain(value: Any) -> Any:  # noqa: ANN401 (any JSON)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    # PostgreSQL keeps numbers as decimals: whole ones come back without a point, however they were sent
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value
