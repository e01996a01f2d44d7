"""Say which words of a document free text finds, and turn what people type into a full-text query."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.errors import InputError

_PROPERTIES = (
    "title",
    "description",
    "keywords",
    "platform",
    "constellation",
    "mission",
    "instruments",
    "processing:level",
    "license",
)
"""Properties of items whose words are searched, beside the item's id and its collection's."""
_FIELDS = ("id", "title", "description", "keywords")
"""Fields of collections whose words are searched."""
PREFIX_MARK = '"*'
"""Stands in a query that asks for the beginning of a word, and in no other."""
_MAX_CHARS = 10_000
_MAX_TERMS = 50
_PIECE = re.compile(r'"([^"]*)"|(\S+)')


def item_text(item: Mapping[str, Any]) -> str:
    """Gather the words by which free text finds an item."""
    properties = item["properties"]
    return _join([item["id"], item["collection"], *(properties.get(name) for name in _PROPERTIES)])


def collection_text(collection: Mapping[str, Any]) -> str:
    """Gather the words by which free text finds a collection."""
    providers = [provider.get("name") for provider in collection.get("providers") or [] if provider]
    return _join([*(collection.get(name) for name in _FIELDS), *providers])


def spell_match(terms: Sequence[str]) -> str | None:
    """Spell the FTS5 query of free-text terms.

    Args:
        terms: Any of them is enough. Inside a term all words are wanted, in any order; ``"…"`` is a phrase,
            and ``word*`` the beginning of a word. Everything else has no meaning of its own.

    Returns:
        The query; None when no term holds a word, which finds nothing.

    Raises:
        InputError: too long, or too many words.
    """
    if sum(map(len, terms)) > _MAX_CHARS:
        raise InputError(f"q is longer than {_MAX_CHARS} characters: search for fewer words")
    spelt = [" AND ".join(_quote(piece) for piece in _pieces(term)) for term in terms]
    alternatives = [f"({term})" for term in spelt if term]
    if sum(term.count(" AND ") + 1 for term in spelt) > _MAX_TERMS:
        raise InputError(f"q has more than {_MAX_TERMS} words: search for fewer")
    return " OR ".join(alternatives) or None


def _pieces(term: str) -> list[tuple[str, bool]]:
    """Cut a term into words and phrases, each with whether it is only the beginning of a word."""
    found = []
    for phrase, word in _PIECE.findall(term):
        text = phrase or word.strip('"')
        if any(char.isalnum() for char in text):
            found.append((text.rstrip("*") if word else text, bool(word) and text.endswith("*")))
    return found


def _quote(piece: tuple[str, bool]) -> str:
    text, beginning = piece
    # FTS5 cuts a quoted string into words as it cut the documents; what stands inside has no syntax
    cleaned = text.replace("\0", " ").replace('"', " ")
    return f'"{cleaned}' + (PREFIX_MARK if beginning else '"')


def _join(values: Sequence[object]) -> str:
    words = [
        text
        for value in values
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str)
    ]
    return "\n".join(words).replace("\0", " ")
