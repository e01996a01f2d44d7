"""Say how much each tag of a feature counts in the mean of its vectors.

Three rules, each a pure function of the tags and of how often keys occur:

* ``inverse_frequency``, the default: ``log(1 + total / count of the key)``. Rare keys tell more.
* ``log_frequency``, GeoLink's: ``log(count of the key)``. Common keys weigh most, unknown ones nothing.
* ``uniform``: the plain mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

Weights = NDArray[np.float64]
_Rule = Callable[[Sequence[str], Mapping[str, int]], Weights]

DEFAULT_WEIGHTING = "inverse_frequency"


def weigh_by_inverse_frequency(tags: Sequence[str], frequencies: Mapping[str, int]) -> Weights:
    """Weigh tags by ``log(1 + total / count)`` of their keys; an unknown key counts as the rarest known.

    The logarithm keeps one misspelt key from drowning the rest: a key once in ten million weighs some ten
    times as much as the commonest, not ten million times. Never zero. Without any count all weigh alike.
    GeoLink's table was made of what a picture can show: keys that it left out (``bicycle``, ``foot``) look
    rare in it and weigh much; counts of whole extracts by ``count_keys`` do not have that fault.

    Args:
        tags: Texts ``key:value``.
        frequencies: Key → count, 1 or more.

    Returns:
        ``(n,)`` float64, positive; only their ratios matter.
    """
    if not frequencies:
        return np.ones(len(tags))
    total, rarest = sum(frequencies.values()), min(frequencies.values())
    return np.array([math.log1p(total / frequencies.get(key_of(tag), rarest)) for tag in tags], np.float64)


def weigh_by_log_frequency(tags: Sequence[str], frequencies: Mapping[str, int]) -> Weights:
    """Weigh tags by the logarithm of their keys' counts; unknown keys, and keys seen once, weigh 0.

    Args:
        tags: Texts ``key:value``.
        frequencies: Key → count, 1 or more.

    Returns:
        ``(n,)`` float64, 0 or more. Where all tags of a feature weigh 0, the mean is plain.

    Source: GeoLink (arXiv 2509.26016), its converter's tag weights.
    """
    return np.array([math.log(frequencies.get(key_of(tag), 1)) for tag in tags], np.float64)


def weigh_alike(tags: Sequence[str], frequencies: Mapping[str, int]) -> Weights:
    """Give every tag the weight 1; ``frequencies`` are not looked at."""
    del frequencies
    return np.ones(len(tags))


WEIGHTINGS: Mapping[str, _Rule] = MappingProxyType(
    {
        "inverse_frequency": weigh_by_inverse_frequency,
        "log_frequency": weigh_by_log_frequency,
        "uniform": weigh_alike,
    }
)
"""Name, as it goes into provenance → rule."""


def weigh_tags(
    tags: Sequence[str], frequencies: Mapping[str, int], weighting: str = DEFAULT_WEIGHTING
) -> Weights:
    """Weigh distinct tags by a named rule.

    Args:
        tags: Distinct texts ``key:value``.
        frequencies: Key → count, from ``load_tag_frequencies`` or, where there is no table, from
            ``count_keys``; weights by a table do not depend on which other features are at hand.
        weighting: Key of ``WEIGHTINGS``.

    Returns:
        ``(n,)`` float64, 0 or more.

    Raises:
        InputError: unknown rule, or a count below 1.
    """
    rule = WEIGHTINGS.get(weighting)
    if rule is None:
        raise InputError(f"unknown tag weighting {weighting!r}; known: {', '.join(WEIGHTINGS)}")
    if frequencies and min(frequencies.values()) < 1:
        key = min(frequencies, key=frequencies.__getitem__)
        raise InputError(f"tag frequency of {key!r} is {frequencies[key]}; expected counts of 1 or more")
    return rule(tags, frequencies)


def count_keys(tags: Sequence[str], ids: NDArray[np.integer]) -> dict[str, int]:
    """Count how often each key occurs among the tags of the features at hand.

    Args:
        tags: k distinct texts ``key:value``.
        ids: Index into ``tags`` of every occurrence.

    Returns:
        Key → count, keys that occur only.
    """
    counts: dict[str, int] = {}
    for tag, count in zip(tags, np.bincount(ids, minlength=len(tags)).tolist(), strict=True):
        if count:
            counts[key_of(tag)] = counts.get(key_of(tag), 0) + count
    return counts


def key_of(tag: str) -> str:
    """Return what stands before a tag's first colon: the whole text where there is none."""
    return tag.partition(":")[0]
