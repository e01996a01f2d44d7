"""Refuse filters that are too long or too deep before anything recursive sees them.

The ``cql2`` parser ends the process when nested terms use up the thread's stack (fewer than 1,000 are enough
for 2 MB), and takes time that doubles with every plain parenthesis that is open where the text goes wrong:
5 s at 20. Both are bounded here by counting.
"""

from __future__ import annotations

import re

from infra.errors import InputError

MAX_TEXT_BYTES = 16 * 1024
MAX_TERMS = 1_000
"""Words and operators in CQL2 text; numbers, quoted text and commas do not nest and are not counted."""
MAX_PARSE_STEPS = 65_536
"""What a malformed text may cost, about 1 µs each."""
MAX_NESTING = 60
"""Operators and parentheses inside one another in CQL2 text."""
MAX_DEPTH = 100
"""Of objects and lists in CQL2 JSON, coordinates too: an operator takes two."""
MAX_NODES = 5_000
MAX_COORDINATES = 50_000

_TOKEN = re.compile(
    r"""(?P<quoted>'(?:[^']|'')*'?)|(?P<name>"(?:[^"]|"")*"?)|(?P<word>[^\W\d][\w.:]*)|(?P<number>\d[\w.]*)"""
    r"""|(?P<sign><>|[<>!]=|[-+*/%^=<>])|(?P<open>[(])|(?P<close>[)])|(?P<comma>,)|(?P<other>\S)"""
)
_COUNTED = frozenset({"word", "sign", "name", "other"})
_KEYWORDS = frozenset({"and", "or", "not", "in", "between", "like", "is", "null", "div", "true", "false"})
_NESTING = frozenset({"not", "div", "in", "between", "like", "is"})
"""Words that nest when they follow one another, as all signs do; a comma, ``and`` and ``or`` start afresh."""


def check_text(text: str) -> None:
    """Refuse CQL2 text that could exhaust the parser.

    Raises:
        InputError: too long, too many terms, or too many of them inside nested parentheses.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_TEXT_BYTES:
        raise InputError(f"filter text has {size} bytes: at most {MAX_TEXT_BYTES} are read")
    terms, steps, depth = _count(text)
    if terms > MAX_TERMS:
        raise InputError(f"filter text has more than {MAX_TERMS} words and operators: shorten it")
    if depth > MAX_NESTING:
        raise InputError(f"filter text nests more than {MAX_NESTING} operators or parentheses: flatten it")
    if steps > MAX_PARSE_STEPS:
        raise InputError(
            "filter text has too many terms inside nested parentheses: leave out parentheses that change"
            " nothing, or send the filter as CQL2 JSON"
        )


def check_json(cql2_json: object) -> frozenset[str]:
    """Refuse CQL2 JSON that is too large or too deep, or holds text that is not UTF-8.

    Returns:
        The names of the properties it refers to, without a leading ``properties.``.

    Raises:
        InputError: a limit is passed.
    """
    names: set[str] = set()
    todo: list[tuple[object, int, bool]] = [(cql2_json, 1, False)]
    nodes = coordinates = 0
    while todo:
        node, depth, is_place = todo.pop()
        nodes, coordinates = nodes + (not is_place), coordinates + is_place
        if depth > MAX_DEPTH:
            raise InputError(f"filter is nested more than {MAX_DEPTH} deep: flatten it")
        if nodes > MAX_NODES or coordinates > MAX_COORDINATES:
            raise InputError(
                f"filter is too large: at most {MAX_NODES} nodes and {MAX_COORDINATES} coordinates are read"
            )
        if isinstance(node, dict):
            todo += [(member, depth + 1, name == "coordinates") for name, member in node.items()]
            if isinstance(node.get("property"), str):
                names.add(strip_prefix(node["property"]))
        elif isinstance(node, list | tuple):
            todo += [(member, depth + 1, is_place) for member in node]
        elif isinstance(node, str):
            _check_spelling(node)
    return frozenset(names)


def strip_prefix(name: str) -> str:
    """Reduce ``properties.gsd`` to ``gsd``: both name the same property."""
    return name.removeprefix("properties.")


def shorten(value: object) -> str:
    """Quote a value for a message, cut where it is long."""
    text = repr(value if not isinstance(value, str) else value[:80])
    return text if len(text) <= 82 else f"{text[:80]}…"


def _count(text: str) -> tuple[int, int, int]:
    """Count terms, steps that a failing parse takes, and how deep operators and parentheses nest at most.

    Stops where a limit is passed. A plain parenthesis doubles the steps of what is in it; the parenthesis of
    a call, which a name stands right before, is parsed once.
    """
    terms = steps = deepest = 0
    is_plain: list[bool] = []
    chains = [0]  # operators in a row, for each parenthesis that is open
    before = ""
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0].lower()
        if kind == "open":
            is_plain.append(not before)
            chains.append(1)
        elif kind == "close" and is_plain:
            is_plain.pop()
            chains.pop()
        elif kind == "sign" or token in _NESTING:
            chains[-1] += 1
        elif kind == "comma" or token in ("and", "or"):
            chains[-1] = min(chains[-1], 1)
        terms += kind in _COUNTED
        steps += (1 + len(token) // 16) << sum(is_plain)
        deepest = max(deepest, sum(chains))
        if steps > MAX_PARSE_STEPS or deepest > MAX_NESTING or terms > MAX_TERMS:
            break
        before = token if kind == "word" and token not in _KEYWORDS else ""
    return terms, steps, deepest


def _check_spelling(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"filter holds text that UTF-8 cannot spell: {shorten(text)}") from exc
