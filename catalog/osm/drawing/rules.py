"""Say which tags a drawing rule means, and find each feature's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.osm.records import Tags
from infra.errors import InputError

Pairs = frozenset[tuple[str, str]]
_ANY = "*"
_NO = frozenset(("no", "none"))


class TagRule(Protocol):
    """Anything that names the features it is for."""

    @property
    def where(self) -> str:
        """Tags of which one is enough: ``landuse=forest natural=wood|scrub highway=*``."""

    @property
    def unless(self) -> str:
        """Tags of which none may be there, spelt likewise; empty for no such condition."""

    @property
    def needs(self) -> str:
        """Tags of which one must be there besides; empty for no such condition."""


def parse_tags(text: str) -> Pairs:
    """Parse ``key=value|value key=*`` into pairs; ``*`` stands for any value but ``no``.

    Raises:
        InputError: a word is not of that form.
    """
    pairs = set()
    for word in text.split():
        key, _, values = word.partition("=")
        if not key or not all(values.split("|")):
            raise InputError(
                f"{word!r} in the rule {text!r} does not name a tag; write key=value|value or key=*"
            )
        pairs |= {(key, value) for value in values.split("|")}
    return frozenset(pairs)


def match_rules(tags: Sequence[Tags], rules: Sequence[TagRule]) -> NDArray[np.int16]:
    """Find the first rule that fits each feature.

    Args:
        tags: Tags of n features.
        rules: In order of precedence.

    Returns:
        ``(n,)`` index of the rule; -1 where none fits.

    Raises:
        InputError: a rule is spelt wrongly.
    """
    wanted: dict[tuple[str, str], list[int]] = {}
    for index, rule in enumerate(rules):
        for pair in parse_tags(rule.where):
            wanted.setdefault(pair, []).append(index)
    limits = [(parse_tags(rule.unless), parse_tags(rule.needs)) for rule in rules]
    keys = {key for key, _ in wanted}
    found = (_find_rule(one, wanted, limits) if not keys.isdisjoint(one) else -1 for one in tags)
    return np.fromiter(found, np.int16, len(tags))


def _find_rule(
    tags: Tags, wanted: dict[tuple[str, str], list[int]], limits: Sequence[tuple[Pairs, Pairs]]
) -> int:
    pairs = _list_pairs(tags)
    for index in sorted({index for pair in pairs for index in wanted.get(pair, ())}):
        unless, needs = limits[index]
        if unless.isdisjoint(pairs) and not (needs and needs.isdisjoint(pairs)):
            return index
    return -1


def _list_pairs(tags: Tags) -> set[tuple[str, str]]:
    """List what a feature says; a tag that denies itself (``building=no``) says nothing."""
    said = {(key, value) for key, value in tags.items() if value not in _NO}
    return said | {(key, _ANY) for key, _ in said}
