r"""Match ``like`` patterns, and spell them for SQLite: ``%`` any run, ``_`` one character, ``\`` escapes."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Callable

from catalog.database.expressions.nodes import Fold

_LAST_CHAR = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


class Wild(enum.Enum):
    """Name what a pattern leaves open."""

    RUN = "%"
    ONE = "_"


def fold_text(text: str, fold: Fold) -> str:
    """Strip text of its case, or of its accents.

    Source: Unicode full case folding; compatibility decomposition (NFKD) without combining marks.
    """
    if fold == "casei":
        return text.casefold()
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def fold_pattern(pattern: str, fold: Fold) -> str:
    """Fold the text of a pattern; signs that folding makes of other characters stay text."""
    return "".join(
        part.value if isinstance(part, Wild) else re.sub(r"([%_\\])", r"\\\1", fold_text(part, fold))
        for part in split_pattern(pattern)
    )


def split_pattern(pattern: str) -> list[str | Wild]:
    """Cut a pattern into text and open places; a lone backslash at the end is text."""
    parts: list[str | Wild] = []
    for match in re.finditer(r"\\(?P<escaped>.)|(?P<wild>[%_])|(?P<text>[^\\%_]+|\\)", pattern, re.DOTALL):
        if match["wild"]:
            parts.append(Wild(match["wild"]))
            continue
        text = match["escaped"] or match["text"]
        if parts and isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(text)
    return parts


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Make a matcher whose time is at most text length times pattern length.

    Between two runs everything has a fixed length, so the leftmost place of each piece is as good as any: no
    choice is ever taken back.
    """
    pieces: list[list[str | Wild]] = [[]]
    for part in split_pattern(pattern):
        if part is Wild.RUN:
            pieces.append([])
        else:
            pieces[-1].append(part)
    if len(pieces) == 1:
        whole = _fixed(pieces[0])
        return lambda text: whole.fullmatch(text) is not None
    first, last, last_chars = _fixed(pieces[0]), _fixed(pieces[-1]), _count_chars(pieces[-1])
    inner = [_fixed(piece) for piece in pieces[1:-1] if piece]

    def matches(text: str) -> bool:
        found = first.match(text)
        end = len(text) - last_chars
        if found is None or end < found.end() or last.fullmatch(text, end) is None:
            return False
        place = found.end()
        for piece in inner:
            found = piece.search(text, place, end)
            if found is None:
                return False
            place = found.end()
        return True

    return matches


def to_glob(pattern: str) -> str | None:
    """Spell a pattern for SQLite's GLOB; None when it holds NUL, where GLOB would stop."""
    if "\0" in pattern:
        return None
    signs = {Wild.RUN: "*", Wild.ONE: "?"}
    return "".join(
        signs[part] if isinstance(part, Wild) else re.sub(r"([*?[])", r"[\1]", part)
        for part in split_pattern(pattern)
    )


def prefix_of(pattern: str) -> str:
    """Give the text that everything matching starts with; empty when there is none."""
    parts = split_pattern(pattern)
    return parts[0] if parts and isinstance(parts[0], str) else ""


def next_text(prefix: str) -> str | None:
    """Give the least text, by code point, above everything that starts so; None when there is none."""
    kept = prefix.rstrip(chr(_LAST_CHAR))
    if not kept:
        return None
    above = ord(kept[-1]) + 1
    return kept[:-1] + chr(_SURROGATES.stop if above in _SURROGATES else above)


def _fixed(piece: list[str | Wild]) -> re.Pattern[str]:
    return re.compile("".join("." if part is Wild.ONE else re.escape(str(part)) for part in piece), re.DOTALL)


def _count_chars(piece: list[str | Wild]) -> int:
    return sum(1 if isinstance(part, Wild) else len(part) for part in piece)
