"""Sign an address in the moment of reading it, and take signatures off again for logs and ids.

Plans hold unsigned addresses: a token lives for minutes to an hour, a plan for as long as one likes.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from infra.errors import InputError, TransientError

_SIGNATURE_KEYS: dict[str, tuple[str, ...]] = {
    "sig": (
        *("sig", "sv", "se", "st", "sp", "sr", "spr", "sip", "si", "ss", "srt", "sdd"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
    ),
    "x-amz-signature": ("x-amz-*",),
    "x-goog-signature": ("x-goog-*",),
}
"""What proves that a query is signed → which of its keys belong to the signature (``*`` ends a prefix).

Source: Microsoft, "Create a service SAS" and "Create a user delegation SAS"; AWS Signature Version 4, query
parameters; Google Cloud Storage, signed URLs.
"""


def sign_planetary_computer(href: str) -> str:
    """Add a SAS token of the Planetary Computer to an Azure blob address; others come back unchanged.

    The package keeps one token for each storage container and asks for a new one when less than 60 s are
    left of it (``planetary_computer.sas.get_token``, version 1.0.0), so calling this inside each read
    renews tokens before they expire. It also repeats throttled token requests itself.

    Raises:
        TransientError: the token service cannot be reached.
    """
    try:
        return str(_planetary_computer().sign_url(href))
    except OSError as exc:  # requests' errors are OSErrors
        raise TransientError(
            f"the Planetary Computer gave no token for {unsigned(href)}: {exc}; try again later"
        ) from exc


@cache
def _planetary_computer() -> Any:  # noqa: ANN401 - the package has no types
    # Imported late, since few need it, and once: it declares its pydantic models in the version 1 style,
    # and that warning is not ours to mend.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for class-based `config`")
        return importlib.import_module("planetary_computer")


SIGNERS: dict[str, Callable[[str], str]] = {"planetary-computer": sign_planetary_computer}
"""Signer by name, as ``Scene.signer`` spells it."""


def sign(href: str, signer: str | None) -> str:
    """Return the address to open now; call it inside each read and never keep what it returns.

    Args:
        href: Unsigned address.
        signer: Key of ``SIGNERS``; None for open data.

    Raises:
        InputError: there is no such signer.
        TransientError: the token service cannot be reached.
    """
    if signer is None:
        return href
    if signer not in SIGNERS:
        near = difflib.get_close_matches(signer, SIGNERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(SIGNERS))}"
        raise InputError(f"unknown signer {signer!r}; {hint}")
    return SIGNERS[signer](href)


def unsigned(href: str) -> str:
    """Take an Azure, AWS or Google signature off an address; anything else stays as it is."""
    parts = urlsplit(href)
    if not parts.query:
        return href
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    names = {name.lower() for name, _ in pairs}
    for proof, belonging in _SIGNATURE_KEYS.items():
        if proof in names:
            kept = [(name, value) for name, value in pairs if not _belongs(name.lower(), belonging)]
            return urlunsplit(parts._replace(query=urlencode(kept)))
    return href


def _belongs(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
