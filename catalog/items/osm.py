"""Build the STAC 1.1 Item of an area of OpenStreetMap: pure, from plan and receipt alone."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from catalog.footprints import find_box_footprint
from catalog.items.assets import pixel_size_m
from catalog.items.collections import OSM, license_links, provider, source_providers
from catalog.items.fields import build_item, list_links, software_fields, spell_day, to_rfc3339
from catalog.items.osm_assets import list_renders, osm_assets
from catalog.osm.plan import OsmPlan, OsmReceipt
from catalog.osm.terms import ATTRIBUTION, LICENSE
from infra.digests import to_multihash

FIRST_DAY = dt.datetime(2004, 8, 9, tzinfo=dt.UTC)
"""Since when there is OpenStreetMap: no feature is older."""
_LEVEL = "L4"  # what people and programs made of measurements, no measurement itself
_ENDINGS = re.compile(r"([._-]latest)?(\.osm|\.o5m|\.pbf|\.bz2|\.gz|\.xml|\.json)*$", re.IGNORECASE)
_NAME_LETTERS = 60
_CLASSES_TOLD = 3


def osm_item(
    plan: OsmPlan, receipt: OsmReceipt, *, root_href: str, execution_href: str | None = None
) -> dict[str, Any]:
    """Build the item that publishes an area of OpenStreetMap.

    ``created`` and ``updated`` are the catalogue's to set.

    Args:
        plan: What the product was to be.
        receipt: What was written.
        root_href: Absolute path or URL of the store's root.
        execution_href: URL of the run that made it, where it is the same for every run of the plan.

    Returns:
        A STAC 1.1 Item, JSON-serialisable. Its ``collection`` link is relative; a server puts its own in
        place of it and adds ``self``, ``parent`` and ``root``.
    """
    footprint = find_box_footprint(plan.area)
    assets = osm_assets(plan, receipt, root_href=root_href.rstrip("/"))
    properties = {
        **_describe(plan, receipt),
        **_time_fields(plan, receipt),
        **_osm_fields(plan, receipt),
        **_processing_fields(plan, receipt),
        "renders": list_renders(assets),
    }
    return build_item(
        plan.id,
        OSM,
        footprint,
        properties=properties,
        assets=assets,
        links=list_links(OSM, _own_links(plan), execution_href),
    )


def _describe(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, Any]:
    """Say in words what the product is."""
    state = plan.extract.timestamp
    day = "state unknown" if state is None else spell_day(state.astimezone(dt.UTC).date())
    return {
        "title": f"OpenStreetMap · {_name_place(plan)} · {day}",
        "description": f"{'; '.join(_list_facts(plan, receipt))}. {ATTRIBUTION}, {LICENSE}.",
        "license": LICENSE,
        "attribution": ATTRIBUTION,
        "providers": [*source_providers(OSM), provider()],
        "keywords": ["OpenStreetMap", "vector", "GeoParquet", "map", *(["graph"] if receipt.graph else [])],
    }


def _name_place(plan: OsmPlan) -> str:
    """Name the area: after the extract, and by its middle when it is a part or came from a server."""
    name = "" if _is_url(plan.source) else _ENDINGS.sub("", PurePosixPath(plan.extract.path).name)
    words = " ".join(_only_text(name).replace("_", " ").replace("-", " ").split())[:_NAME_LETTERS]
    if words and plan.clip is None:
        return words[0].upper() + words[1:]
    west, south, east, north = plan.area
    lon = (west + (east + 360.0 if east < west else east)) / 2
    lon, lat = (lon + 180.0) % 360.0 - 180.0, (south + north) / 2
    middle = f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'} {abs(lon):.3f}° {'E' if lon >= 0 else 'W'}"
    return f"{words[0].upper()}{words[1:]} around {middle}" if words else middle


def _list_facts(plan: OsmPlan, receipt: OsmReceipt) -> list[str]:
    rows, cols = plan.grid.shape_yx
    counts = f"{receipt.nodes:,} nodes, {receipt.ways:,} ways, {receipt.relations:,} relations"
    facts = [f"{receipt.features:,} features of OpenStreetMap ({counts}) from {_name_source(plan)}"]
    mended = "geometry" if receipt.repaired == 1 else "geometries"
    facts += [f"{receipt.repaired:,} {mended} repaired"] if receipt.repaired else []
    if receipt.quarantined:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(receipt.quarantined.items()))
        facts.append(f"{sum(receipt.quarantined.values()):,} elements in quarantine ({reasons})")
    facts.append(f"drawn on a {pixel_size_m(plan.grid):g} m grid, {cols} × {rows} pixels")
    largest = sorted(receipt.class_shares.items(), key=lambda entry: (-entry[1], entry[0]))
    told = [f"{name} {share:.0%}" for name, share in largest if share >= 0.005][:_CLASSES_TOLD]
    return [*facts, f"most of it {', '.join(told)}"] if told else facts


def _time_fields(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, str | None]:
    """State when the map was so; of a file that does not say, between which moments it must have been."""
    state = plan.extract.timestamp
    if state is not None:
        return {"datetime": to_rfc3339(state)}
    end = receipt.newest or plan.extract.modified
    start = min(FIRST_DAY, end)
    return {"datetime": None, "start_datetime": to_rfc3339(start), "end_datetime": to_rfc3339(end)}


def _osm_fields(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, Any]:
    extract = plan.extract
    version = f"sha256-{extract.sha256[:12]}" if extract.timestamp is None else to_rfc3339(extract.timestamp)
    stated = {
        "osm:timestamp": None if extract.timestamp is None else to_rfc3339(extract.timestamp),
        "osm:sequence": extract.sequence,
        "osm:replication_url": _without_secrets(extract.replication_url or ""),
        "osm:newest_edit": None if receipt.newest is None else to_rfc3339(receipt.newest),
    }
    return {
        "version": version,
        "osm:source": _name_source(plan),
        **{key: value for key, value in stated.items() if value is not None},
        "osm:features": receipt.features,
        "osm:nodes": receipt.nodes,
        "osm:ways": receipt.ways,
        "osm:relations": receipt.relations,
        "osm:repaired": receipt.repaired,
        "osm:quarantined": sum(receipt.quarantined.values()),
    }


def _processing_fields(plan: OsmPlan, receipt: OsmReceipt) -> dict[str, Any]:
    chosen = "all elements" if plan.clip is None else "elements that reach the box, whole"
    lineage = (
        f"{_name_source(plan)} (SHA-256 {plan.extract.sha256}): {chosen}; tagged nodes and ways, "
        "multipolygon and boundary relations as features, invalid areas made valid, map and classes drawn "
        f"from them. Plan {receipt.plan_digest}."
    )
    fields = {"processing:level": _LEVEL, "processing:lineage": lineage}
    return fields | software_fields(receipt.software)


def _own_links(plan: OsmPlan) -> list[dict[str, Any]]:
    extract = {
        "rel": "derived_from",
        "href": _without_secrets(plan.source) or _file_url(plan.extract.path),
        "title": _name_source(plan),
        "file:size": plan.extract.size,
        "file:checksum": to_multihash(plan.extract.sha256),
    }
    return [*license_links(OSM), extract]


def _name_source(plan: OsmPlan) -> str:
    """Name the file, or the server's host."""
    if _is_url(plan.source):
        return urlsplit(plan.source).hostname or "a server"
    return _only_text(PurePosixPath(plan.extract.path).name)


def _only_text(text: str) -> str:
    """Drop control characters and what cannot be UTF-8: file names may hold anything."""
    return "".join(letter for letter in text.encode("utf-8", "ignore").decode() if letter.isprintable())


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def _without_secrets(url: str) -> str | None:
    """Keep scheme, host, port and path of a web address: user names and queries may hold keys.

    Files' headers hold anything: what is no web address gives None.
    """
    try:
        parts = urlsplit(_only_text(url))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https"):
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _file_url(path: str) -> str:
    return "file://" + quote(path, errors="surrogateescape")
