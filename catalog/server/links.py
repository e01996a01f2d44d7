"""Make the links of answers: every document is served with links to where it is served from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from catalog.database.backend import Derivative
from catalog.database.documents import SERVER_RELS, Document
from catalog.server.addresses import NO_STORE, StoreAddresses

JSON = "application/json"
GEOJSON = "application/geo+json"
SCHEMA_JSON = "application/schema+json"
QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
SORTABLES = "http://www.opengis.net/def/rel/ogc/1.0/sortables"
Link = dict[str, Any]


def make_link(rel: str, href: str, media_type: str) -> Link:
    """Make one link."""
    return {"rel": rel, "type": media_type, "href": href}


def collection_url(base_url: str, collection: str) -> str:
    """Spell a collection's address; ``base_url`` ends with a slash."""
    return f"{base_url}collections/{quote(collection, safe='')}"


def item_url(base_url: str, collection: str, item_id: str) -> str:
    """Spell an item's address."""
    return f"{collection_url(base_url, collection)}/items/{quote(item_id, safe='')}"


def link_collection(collection: Document, base_url: str, addresses: StoreAddresses = NO_STORE) -> Document:
    """Return the collection with the server's links in place of those it brought, and files as URLs."""
    collection = addresses.to_web(collection, base_url)
    href = collection_url(base_url, collection["id"])
    links = [
        make_link("self", href, JSON),
        make_link("parent", base_url, JSON),
        make_link("root", base_url, JSON),
        make_link("items", f"{href}/items", GEOJSON),
        *link_descriptions(f"{href}/"),
    ]
    return {**collection, "links": links + _own_links(collection)}


def link_item(item: Document, base_url: str, addresses: StoreAddresses = NO_STORE) -> Document:
    """Return the item with the server's links in place of those it brought, and files as URLs."""
    item = addresses.to_web(item, base_url)
    parent = collection_url(base_url, item["collection"])
    links = [
        make_link("self", item_url(base_url, item["collection"], item["id"]), GEOJSON),
        make_link("parent", parent, JSON),
        make_link("collection", parent, JSON),
        make_link("root", base_url, JSON),
    ]
    return {**item, "links": links + _own_links(item)}


def link_derivatives(derivatives: Iterable[Derivative], base_url: str) -> list[Link]:
    """Link to the items that were made from one item."""
    return [
        make_link("derivative", item_url(base_url, each.collection, each.id), GEOJSON)
        | {"title": f"{each.title or each.id} ({each.collection})"}
        for each in derivatives
    ]


def link_descriptions(base_url: str) -> list[Link]:
    """Link to what can be asked of a collection's items, or of all items; ``base_url`` ends with a slash."""
    return [
        make_link(QUERYABLES, f"{base_url}queryables", SCHEMA_JSON),
        make_link(SORTABLES, f"{base_url}sortables", SCHEMA_JSON) | {"title": "What items can be sorted by"},
        make_link("aggregate", f"{base_url}aggregate", JSON) | {"title": "Count items"},
        make_link("aggregations", f"{base_url}aggregations", JSON) | {"title": "What can be counted"},
    ]


def next_by_get(url: str, parameters: Mapping[str, str], token: str, media_type: str = GEOJSON) -> Link:
    """Link to the next page as an address that holds the whole search."""
    query = urlencode({**parameters, "token": token})
    return {**make_link("next", f"{url}?{query}", media_type), "method": "GET"}


def next_by_post(url: str, body: Mapping[str, Any], token: str) -> Link:
    """Link to the next page as an address and the whole body to post there."""
    link = make_link("next", url, GEOJSON)
    return {**link, "method": "POST", "merge": False, "body": {**body, "token": token}}


def _own_links(document: Document) -> list[Link]:
    return [link for link in document["links"] if link["rel"] not in SERVER_RELS]
