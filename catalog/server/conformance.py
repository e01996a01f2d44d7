"""List the conformance classes of extensions to reading that this server keeps: these, and no others."""

from __future__ import annotations

_STAC = "https://api.stacspec.org/v1.0.0"
_DRAFT = "https://api.stacspec.org/v1.0.0-rc.1"
_FEATURES = "http://www.opengis.net/spec/ogcapi-features"
_CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"

FIELDS = (
    f"{_STAC}/item-search#fields",
    f"{_STAC}/ogcapi-features#fields",
    f"{_DRAFT}/collection-search#fields",
)
# version 1.1.0 adds sortables; clients of today look for 1.0.0
SORT = (
    f"{_STAC}/item-search#sort",
    f"{_STAC}/ogcapi-features#sort",
    "https://api.stacspec.org/v1.1.0/item-search#sort",
    "https://api.stacspec.org/v1.1.0/item-search#sortables",
    "https://api.stacspec.org/v1.1.0/ogcapi-features#sort",
    "https://api.stacspec.org/v1.1.0/collection-search#sort",
    f"{_FEATURES}-5/1.0/conf/sortables",
)
FILTER = (
    "https://api.stacspec.org/v1.0.0-rc.3/item-search#filter",
    f"{_FEATURES}-3/1.0/conf/filter",
    f"{_FEATURES}-3/1.0/conf/features-filter",
    f"{_CQL2}/cql2-text",
    f"{_CQL2}/cql2-json",
    f"{_CQL2}/basic-cql2",
    f"{_CQL2}/advanced-comparison-operators",
    f"{_CQL2}/case-insensitive-comparison",
    f"{_CQL2}/accent-insensitive-comparison",
    f"{_CQL2}/basic-spatial-functions",
    f"{_CQL2}/basic-spatial-functions-plus",
    f"{_CQL2}/spatial-functions",
    f"{_CQL2}/temporal-functions",
    f"{_CQL2}/array-functions",
    f"{_CQL2}/arithmetic",
    f"{_CQL2}/property-property",
)
FREE_TEXT = (
    f"{_DRAFT}/item-search#free-text",
    f"{_DRAFT}/ogcapi-features#free-text",
    f"{_DRAFT}/collection-search#free-text",
)
COLLECTION_SEARCH = (
    f"{_DRAFT}/collection-search",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/simple-query",
)
AGGREGATION = (
    "https://api.stacspec.org/v0.3.0/aggregation",
    "https://api.stacspec.org/v0.3.0/aggregation#filter",
)

COUNTED_UPSERT = "urn:terraloom:conf:counted-upsert"
"""Bulk upserts leave unchanged items untouched, stamp the others, and answer exact counts."""


def extension_classes() -> list[str]:
    """List the classes of all extensions to reading, in no particular order."""
    return [*FIELDS, *SORT, *FILTER, *FREE_TEXT, *COLLECTION_SEARCH, *AGGREGATION]
