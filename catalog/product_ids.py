"""Spell the ids of products: a readable stem, and the first digits of what decides the product's bytes."""

from __future__ import annotations

import re

_HASH_DIGITS = 12
_STEM_LETTERS = 48


def spell_id(stem: str, digest: str) -> str:
    """Return the id of a product: its stem, a hyphen and 12 digits of its digest.

    Args:
        stem: What people know it by; letters that a path may have.
        digest: Of all that decides its bytes, hexadecimal.
    """
    return f"{stem}-{digest[:_HASH_DIGITS]}"


def spell_stem(text: str, letters: int = _STEM_LETTERS) -> str:
    """Reduce any text to lower-case letters, digits and hyphens for an id; empty where nothing is left.

    Args:
        text: A name of any kind.
        letters: How many to keep at most.
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:letters]
