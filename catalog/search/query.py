"""Define what is asked of a catalogue and what it gives, whether it is an API or static."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.sources.extents import Bbox, Period
from infra.errors import InputError

MAX_ITEMS = 10_000


@dataclass(frozen=True, kw_only=True)
class Query:
    """Say which items are wanted."""

    collections: tuple[str, ...] = ()
    """Empty for all."""
    bbox: Bbox | None = None
    period: Period = (None, None)
    max_items: int = MAX_ITEMS


@dataclass(frozen=True, kw_only=True)
class FoundItem:
    """Hold one item as a catalogue gave it."""

    item: dict[str, Any]
    base_href: str
    """Where it was read; relative addresses start there."""
    collection: Mapping[str, Any] | None
    """Its collection's document, when there is one."""


def refuse_unknown_collections(wanted: Sequence[str], available: Iterable[str], place: str) -> None:
    """Check that every wanted collection is there.

    Raises:
        InputError: one is not; the nearest and the available ones are named.
    """
    names = sorted(set(available))
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            listed = ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
            raise InputError(
                f"{place} has no collection {name!r}; {hint}available: {listed or 'none'}", collection=name
            )


def too_many(max_items: int, place: str, matched: int | None = None) -> InputError:
    """Say that a search found more than it may."""
    count = f"{matched} scenes match" if matched else f"more than {max_items} scenes match"
    return InputError(
        f"{count} in {place}, and {max_items} are allowed; narrow the area, the time or the collections"
    )
