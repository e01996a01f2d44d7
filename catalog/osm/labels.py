"""Say which tags of a map feature describe what it is, and write them as one label.

The spelling is that of GeoLink's labels: ``key:value`` joined by ``;``, a key's inner colons written as
spaces (``roof:shape=gabled`` → ``roof shape:gabled``), so that key and value part again at the first colon
and keys are found in GeoLink's table of frequencies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LEFT_OUT_KEYS: Mapping[str, frozenset[str]] = {
    "names": _words(
        "name int_name loc_name nat_name official_name old_name reg_name short_name sorting_name alt_name "
        "uic_name noname brand operator owner artist_name architect inscription destination exit_to from "
        "to via"
    ),
    "addresses": _words("addr address is_in postal_code postcode country timezone left right"),
    "sources and edits": _words(
        "source attribution note fixme todo comment description created_by converted_by import import_uuid "
        "check_date survey_date survey mapillary image url wikimedia_commons last_checked license copyright"
    ),
    "numbers of registers": _words(
        "ref local_ref route_ref loc_ref int_ref nat_ref reg_ref old_ref uic_ref exit_ref wikidata wikipedia "
        "id code iata icao gtfs_id"
    ),
    "contact and times": _words(
        "contact phone mobile fax email website facebook twitter instagram youtube opening_hours "
        "service_times collection_times payment start_date end_date valid_from valid_to"
    ),
    "measures that name no kind": _words(
        "ele height min_height width est_width length diameter distance population capacity step_count"
    ),
    "how the data are built": _words("type area layer level noexit"),
}
"""By reason, keys that say nothing of what a feature is; a key's first word counts (``name:de``)."""

LEFT_OUT_PREFIXES: frozenset[str] = _words(
    "3dshapes bag bfs canvec clc dcgis defra dibavod fao gnis gns geobase geonames ibge ign "
    "iso3166-1 iso3166-2 it kms ksj2 lacounty lbcs linz maaamet massgis mvdgis naptan ngbe nhd nhs nrcan "
    "nysgissam opengeodb osak osmc raba ruian statscan swisstopo teryt tiger tmc uir_adr usgs waterbase yh"
)
"""Registers and imports that wrote keys of their own: the word before a key's first colon, lower case."""

MAX_VALUE_LENGTH = 80
"""Characters; what is longer is prose or a list, not a kind."""

KEPT_KEYS: frozenset[str] = frozenset({"crossing_ref", "generator:source", "plant:source"})
"""Keys that describe a feature although a rule by their ending or first word would leave them out."""

LEFT_OUT_ENDINGS = (
    "_name",
    "_ref",
    ":ref",
    ":name",
    ":source",
    ":url",
    ":website",
    ":wikidata",
    ":wikipedia",
)
"""Ends of keys that hold names and references wherever they stand (``railway:ref``)."""

_LEFT_OUT = frozenset().union(LEFT_OUT_PREFIXES, *LEFT_OUT_KEYS.values())
_NUMBERED = re.compile(r"_\d+$")
_ADDRESS = re.compile(r"\s*(?:https?://|www\.)", re.IGNORECASE)
_NOT_IN_KEYS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff:;]+")
_NOT_IN_VALUES = re.compile(r"[;\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def label_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Keep the tags that describe what a feature is, in the spelling of labels.

    Left out are names, addresses, sources and notes, numbers of registers, contact, keys that imports left
    behind, values that are addresses of the web or longer than ``MAX_VALUE_LENGTH``. Of two keys that end
    up alike the first in order of OSM's spelling stays.

    Args:
        tags: OSM key → value, as edited by people: any text.

    Returns:
        Key → value, sorted by key: keys without ``:``, ``;`` and control characters, values without ``;``
        and control characters, neither with blanks at its ends. May be empty.
    """
    kept: dict[str, str] = {}
    for key, value in sorted(tags.items()):
        if _describes(key, value):
            plain_key, plain_value = _NOT_IN_KEYS.sub(" ", key).strip(), _plain_value(value)
            if plain_key and plain_value:
                kept.setdefault(plain_key, plain_value)
    return dict(sorted(kept.items()))


def make_label(tags: Mapping[str, str]) -> str:
    """Write the describing tags of a feature as ``key:value;key:value``, sorted by key; may be empty."""
    return ";".join(f"{key}:{value}" for key, value in label_tags(tags).items())


def _describes(key: str, value: str) -> bool:
    whole = _NUMBERED.sub("", key.strip().lower())
    left_out = whole.partition(":")[0] in _LEFT_OUT or whole.endswith(LEFT_OUT_ENDINGS)
    is_kind = len(value) <= MAX_VALUE_LENGTH and not _ADDRESS.match(value)
    return is_kind and (whole in KEPT_KEYS or not left_out)


def _plain_value(value: str) -> str:
    return " ".join(_NOT_IN_VALUES.sub(",", value).split()).strip()
