"""Turn quality bands into masks of pixels to drop: classes and bit fields as data, one pure function."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError


@dataclass(frozen=True, kw_only=True)
class BitField:
    """Name a run of bits and the values in it that spoil a pixel."""

    first: int
    """Lowest bit, 0 is the least significant."""
    width: int = 1
    drop: tuple[int, ...] = (1,)
    meaning: str


@dataclass(frozen=True, kw_only=True)
class MaskRule:
    """Say which numbers of a quality band spoil a pixel: classes, or fields of bits."""

    title: str
    band_names: tuple[str, ...]
    """Names under which catalogues and files carry this band, lower case."""
    classes: tuple[tuple[int, str], ...] = ()
    """Class number to drop, and its meaning."""
    fields: tuple[BitField, ...] = ()
    source: str


RULES: dict[str, MaskRule] = {
    "sentinel-2-scl": MaskRule(
        title="Sentinel-2 L2A scene classification",
        band_names=("scl",),
        classes=(
            (0, "no data"),
            (1, "saturated or defective"),
            (3, "cloud shadow"),
            (8, "cloud, medium probability"),
            (9, "cloud, high probability"),
            (10, "thin cirrus"),
        ),
        source="ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, scene classification classes",
    ),
    "landsat-c2-qa-pixel": MaskRule(
        title="Landsat Collection 2 pixel quality",
        band_names=("qa_pixel", "qa_pixel.tif", "pixel_qa"),
        fields=(
            BitField(first=0, meaning="fill"),
            BitField(first=1, meaning="dilated cloud"),
            BitField(first=2, meaning="cirrus, high confidence"),
            BitField(first=3, meaning="cloud, high confidence"),
            BitField(first=4, meaning="cloud shadow, high confidence"),
        ),
        source="USGS LSDS-1619, Landsat 8-9 Collection 2 Level 2 Science Product Guide, table 6-3 (QA_PIXEL)",
    ),
    "landsat-c1-bqa": MaskRule(
        title="Landsat Collection 1 Level-1 quality",
        band_names=("bqa",),
        fields=(
            BitField(first=0, meaning="fill"),
            BitField(first=4, meaning="cloud"),
            BitField(first=7, width=2, drop=(3,), meaning="cloud shadow, high confidence"),
            BitField(first=11, width=2, drop=(3,), meaning="cirrus, high confidence"),
        ),
        source="USGS, Landsat Collection 1 Level-1 Quality Assessment Band, bits of Landsat 8 OLI/TIRS",
    ),
}


def cloud_mask(quality: NDArray[np.integer], rule: str) -> NDArray[np.bool_]:
    """Mark the pixels that cloud, shadow, fill or defects spoil.

    Args:
        quality: Any shape, integers as stored in the quality band.
        rule: Key of ``RULES``.

    Returns:
        Same shape; True = drop this pixel.

    Raises:
        InputError: unknown rule, or numbers that are not integers.
    """
    facts = _find_rule(rule)
    if not np.issubdtype(quality.dtype, np.integer):
        raise InputError(
            f"quality band for rule {rule!r} holds {quality.dtype}, not integers: "
            "class and bit bands must be read as stored, by nearest neighbour"
        )
    dropped = np.isin(quality, [number for number, _ in facts.classes])
    for field in facts.fields:
        value = (quality >> field.first) & ((1 << field.width) - 1)
        dropped |= np.isin(value, field.drop)
    return dropped


def rule_for_band(name: str) -> str | None:
    """Find the rule that reads a band of this name, in any spelling of case; None when there is none."""
    return next((key for key, rule in RULES.items() if name.lower() in rule.band_names), None)


def _find_rule(rule: str) -> MaskRule:
    if rule not in RULES:
        near = difflib.get_close_matches(rule, RULES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RULES)}"
        raise InputError(f"unknown mask rule {rule!r}; {hint}")
    return RULES[rule]
