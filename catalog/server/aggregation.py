"""Count what a search finds, in all and by time or collection.

Source: STAC API aggregation extension 0.3.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from catalog.database.backend import SqliteCatalogue
from catalog.database.filters import SearchQuery
from infra.errors import InputError

Interval = Literal["day", "month", "year"]
Aggregation = dict[str, Any]
_TOTAL, _BY_TIME, _BY_COLLECTION = "total_count", "datetime_frequency", "collection_frequency"
_KEY_TYPES = {_TOTAL: None, _BY_TIME: "datetime", _BY_COLLECTION: "string"}
_MIDNIGHT = "T00:00:00Z"
_FIRST_DAYS = {"year": "-01-01", "month": "-01", "day": ""}


def list_aggregations() -> list[Aggregation]:
    """Describe the aggregations that can be asked for."""
    listed = []
    for name, key_type in _KEY_TYPES.items():
        described = {"name": name, "data_type": "integer"}
        if key_type is not None:
            described = {
                "name": name,
                "data_type": "frequency_distribution",
                "frequency_distribution_data_type": key_type,
            }
        listed.append(described)
    return listed


def read_names(names: Sequence[str] | None) -> list[str]:
    """Check the names of the aggregations asked for; without any, the total is meant.

    Raises:
        InputError: a name that is not known.
    """
    for name in names or ():
        if name not in _KEY_TYPES:
            expected = ", ".join(_KEY_TYPES)
            raise InputError(f"aggregations names {name[:60]!r}: expected some of {expected}")
    return list(dict.fromkeys(names or [_TOTAL]))


def read_interval(text: str | None) -> Interval:
    """Read the width of time buckets; a month when not stated.

    Raises:
        InputError: another width.
    """
    for interval in get_args(Interval):
        if interval == (text or "month"):
            return interval  # type: ignore[no-any-return]
    raise InputError(
        f"datetime_frequency_interval {str(text)[:60]!r} is not known: expected day, month or year"
    )


def aggregate(
    catalogue: SqliteCatalogue, query: SearchQuery, names: Sequence[str], interval: Interval
) -> list[Aggregation]:
    """Count what a search finds.

    Args:
        catalogue: Where to search.
        query: The conditions.
        names: As ``read_names`` gives them.
        interval: Width of the buckets of ``datetime_frequency``; an item counts where it starts.

    Raises:
        InputError: malformed query, or one that takes longer than the catalogue allows.
    """
    made = {
        _TOTAL: lambda: _count_total(catalogue, query),
        _BY_TIME: lambda: _count_by_time(catalogue, query, interval),
        _BY_COLLECTION: lambda: _spread(_BY_COLLECTION, catalogue.count_by(query, "collection")),
    }
    return [made[name]() for name in names]


def _count_total(catalogue: SqliteCatalogue, query: SearchQuery) -> Aggregation:
    return {"name": _TOTAL, "data_type": "integer", "value": catalogue.count(query)}


def _count_by_time(catalogue: SqliteCatalogue, query: SearchQuery, interval: Interval) -> Aggregation:
    rest = f"{_FIRST_DAYS[interval]}{_MIDNIGHT}"
    counts = [(f"{start}{rest}", count) for start, count in catalogue.count_by(query, interval)]
    return {**_spread(_BY_TIME, counts), "interval": interval}


def _spread(name: str, counts: Sequence[tuple[str, int]]) -> Aggregation:
    buckets = [{"key": key, "data_type": _KEY_TYPES[name], "frequency": count} for key, count in counts]
    return {"name": name, "data_type": "frequency_distribution", "overflow": 0, "buckets": buckets}
