"""Say how Overpass servers are asked: which, for what, how patiently."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from infra.errors import InputError
from infra.urls import UrlPolicy

DEFAULT_URLS = (
    "https://overpass-api.de/api",
    "https://overpass.private.coffee/api",
    "https://maps.mail.ru/osm/tools/overpass/api",
)
"""Public servers that hold the whole planet, asked in this order."""

DEFAULT_KEYS = (
    "aerialway",
    "aeroway",
    "amenity",
    "barrier",
    "building",
    "building:part",
    "craft",
    "geological",
    "highway",
    "historic",
    "landuse",
    "leisure",
    "man_made",
    "military",
    "natural",
    "office",
    "power",
    "public_transport",
    "railway",
    "shop",
    "tourism",
    "water",
    "waterway",
)
"""Keys of what stands, grows or flows on the ground; borders, routes and addresses are left out."""

_KEY = re.compile(r"[A-Za-z0-9_:.-]{1,255}")


@dataclass(frozen=True, kw_only=True)
class OverpassOptions:
    """Hold what to ask Overpass for, and how; checked when made.

    Raises:
        InputError: when made with no server, an address that is not http(s), a key that OSM would not
            have, a date without time zone, or a number that is not positive.
    """

    urls: tuple[str, ...] = DEFAULT_URLS
    """Servers up to and with ``/api``; the next is asked when one does not deliver."""
    keys: tuple[str, ...] = DEFAULT_KEYS
    """Every element with one of these keys is asked for."""
    date: dt.datetime | None = None
    """Ask for the state of OSM at this moment; None asks for the newest."""
    timeout_s: int = 180
    """What a server may spend on one request, and how long its silence is borne."""
    max_query_area_m2: float = 2.5e9
    """Larger areas are asked for in parts."""
    attempts: int = 3
    """Failures in a row after which a server is given up."""
    first_pause_s: float = 5.0
    """Before the second attempt; doubles with each further one, ± half by chance."""
    max_cache_age_s: float | None = None
    """Ask again when the cached answer is older; None never does."""

    def __post_init__(self) -> None:
        """Refuse what no server should be asked."""
        if not self.urls:
            raise InputError("no Overpass server is named; give at least one URL, e.g. " + DEFAULT_URLS[0])
        for url in self.urls:
            check_server(url)
        if not self.keys:
            raise InputError("no OSM key is named; give at least one, e.g. building")
        for key in self.keys:
            if not _KEY.fullmatch(key):
                raise InputError(f"{key!r} is not an OSM key; give e.g. building or building:part")
        if self.date is not None and self.date.tzinfo is None:
            raise InputError(f"Overpass date {self.date} has no time zone; give e.g. {self.date}+00:00")
        for name in ("timeout_s", "max_query_area_m2", "attempts"):
            if not getattr(self, name) > 0:
                raise InputError(f"Overpass option {name} is {getattr(self, name)}; it must be above 0")

    @property
    def date_clause(self) -> str:
        """The Overpass setting that asks for a past state; empty for the newest."""
        if self.date is None:
            return ""
        return f'[date:"{self.date.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"]'


def check_server(url: str) -> str:
    """Return the address of an Overpass server in normal form, without a trailing slash.

    Raises:
        InputError: not http(s), malformed, with credentials or with a query.
    """
    shown = re.split("[?#]", re.sub("(?s)//.*@", "//…@", url))[0]  # what is left out may be secret
    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"Overpass server {shown!r} is not an http(s) URL; give e.g. {DEFAULT_URLS[0]}")
    if "@" in url:  # before anything else is said of it: other refusals quote the address
        raise InputError(f"Overpass server {shown!r} carries a user name or password; remove that part")
    if "?" in url:
        raise InputError(f"Overpass server {shown!r} carries a query; give the address up to /api")
    return UrlPolicy.for_catalogue(url).location.rstrip("/")
