"""Answer the read side of the STAC API: landing page, collections, items, search."""

# stac-fastapi declares dicts as answers but takes Responses, too, and leaves parameters to request models.
# mypy: disable-error-code="override"

from __future__ import annotations

import json
from typing import Any

import attr
from fastapi import Request, Response
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.requests import get_base_url

from catalog.server.backend import SearchPage, SqliteCatalogue
from catalog.server.filters import SearchQuery
from catalog.server.links import (
    GEOJSON,
    JSON,
    Link,
    collection_url,
    link_collection,
    link_item,
    make_link,
    next_by_get,
    next_by_post,
)
from catalog.server.requests import SearchBody, query_from_body, query_from_text
from infra.errors import InputError

_SEARCH_PARAMETERS = ("collections", "ids", "bbox", "intersects", "datetime", "limit", "token")
Parameter = str | int | None


@attr.s(kw_only=True)
class ReadClient(BaseCoreClient):
    """Serve a catalogue through stac-fastapi's routes.

    Every method answers with a finished Response: FastAPI would otherwise walk through all of it again.
    """

    catalogue: SqliteCatalogue = attr.ib()

    def all_collections(self, *, request: Request) -> Response:
        """Answer ``GET /collections``."""
        base_url = get_base_url(request)
        collections = [link_collection(each, base_url) for each in self.catalogue.get_collections()]
        links = [make_link("self", f"{base_url}collections", JSON), make_link("root", base_url, JSON)]
        return answer(
            {
                "collections": collections,
                "links": links,
                "numberMatched": len(collections),
                "numberReturned": len(collections),
            }
        )

    def get_collection(self, collection_id: str, *, request: Request) -> Response:
        """Answer ``GET /collections/{id}``."""
        collection = self.catalogue.get_collection(collection_id)
        return answer(link_collection(collection, get_base_url(request)))

    def get_item(self, item_id: str, collection_id: str, *, request: Request) -> Response:
        """Answer ``GET /collections/{id}/items/{id}``."""
        item = self.catalogue.get_item(collection_id, item_id)
        return answer(link_item(item, get_base_url(request)), media_type=GEOJSON)

    def item_collection(self, collection_id: str, *, request: Request, **kwargs: Parameter) -> Response:
        """Answer ``GET /collections/{id}/items``."""
        refuse_unknown(request)
        if kwargs.pop("collections") not in (None, "", collection_id):
            raise InputError(f"collections names others than {collection_id!r}: ask /search for several")
        self.catalogue.get_collection(
            collection_id
        )  # a search in an unknown collection is empty, this is 404
        page = self.catalogue.search(query_from_text({**kwargs, "collections": collection_id}))
        base_url = get_base_url(request)
        url = f"{collection_url(base_url, collection_id)}/items"
        links = [make_link("collection", collection_url(base_url, collection_id), JSON)]
        if page.next_token is not None:
            links.append(next_by_get(url, dict(request.query_params), page.next_token))
        return _answer_page(page, base_url, url, links, first="token" not in request.query_params)

    def get_search(self, *, request: Request, **kwargs: Parameter) -> Response:
        """Answer ``GET /search``."""
        refuse_unknown(request)
        page = self.catalogue.search(query_from_text(kwargs))
        base_url = get_base_url(request)
        url = f"{base_url}search"
        links = []
        if page.next_token is not None:
            links.append(next_by_get(url, dict(request.query_params), page.next_token))
        return _answer_page(page, base_url, url, links, first="token" not in request.query_params)

    def post_search(self, search_request: SearchBody, *, request: Request) -> Response:
        """Answer ``POST /search``."""
        query: SearchQuery = query_from_body(search_request)
        page = self.catalogue.search(query)
        base_url = get_base_url(request)
        url = f"{base_url}search"
        links = []
        if page.next_token is not None:
            body = search_request.model_dump(exclude_none=True)
            links.append(next_by_post(url, body, page.next_token))
        return _answer_page(page, base_url, url, links, first=query.token is None)


def answer(content: object, *, media_type: str = JSON, status: int = 200) -> Response:
    """Spell an answer as JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(content=text.encode(), media_type=media_type, status_code=status)


def refuse_unknown(request: Request) -> None:
    """Refuse parameters that would have no effect: an ignored filter finds too much and says nothing.

    Raises:
        InputError: a parameter is not known, or stated twice.
    """
    stated = [name for name, _ in request.query_params.multi_items()]
    for name in stated:
        if name not in _SEARCH_PARAMETERS:
            expected = ", ".join(_SEARCH_PARAMETERS)
            raise InputError(f"parameter {name[:60]!r} is not known here: expected {expected}")
        if stated.count(name) > 1:
            raise InputError(f"parameter {name!r} is stated {stated.count(name)} times: state it once")


def _answer_page(page: SearchPage, base_url: str, url: str, links: list[Link], *, first: bool) -> Response:
    content: dict[str, Any] = {
        "type": "FeatureCollection",
        "features": [link_item(item, base_url) for item in page.items],
        "links": [make_link("self", url, GEOJSON), make_link("root", base_url, JSON), *links],
        "numberReturned": len(page.items),
    }
    if (
        first and page.next_token is None
    ):  # known at no cost; counting all pages of a shape search is not cheap
        content["numberMatched"] = len(page.items)
    return answer(content, media_type=GEOJSON)
