"""Answer the read side of the STAC API: landing page, collections, items, search."""

# stac-fastapi declares dicts as answers but takes Responses, too, and leaves parameters to request models.
# mypy: disable-error-code="override"

from __future__ import annotations

import json
from typing import Any

import attr
from fastapi import Request, Response, params
from stac_fastapi.types.core import BaseCoreClient
from stac_fastapi.types.requests import get_base_url
from stac_fastapi.types.search import APIRequest

from catalog.database.backend import SearchPage, SearchQuery, SqliteCatalogue
from catalog.server.addresses import NO_STORE, StoreAddresses
from catalog.server.collection_pages import cut_page
from catalog.server.links import (
    GEOJSON,
    JSON,
    Link,
    collection_url,
    link_collection,
    link_derivatives,
    link_descriptions,
    link_item,
    make_link,
    next_by_get,
    next_by_post,
)
from catalog.server.projection import Projection
from catalog.server.requests import (
    CollectionsParameters,
    ItemsParameters,
    SearchBody,
    SearchParameters,
    projection_from_body,
    projection_from_text,
    query_from_body,
    query_from_text,
    read_numbers,
    read_sortby,
    read_terms,
)
from infra.errors import InputError

OPENAPI_JSON = "application/vnd.oai.openapi+json;version=3.1"
OPENAPI_PATH = "api"
DOCS_PATH = "api.html"
Parameter = str | int | None


@attr.s(kw_only=True)
class ReadClient(BaseCoreClient):
    """Serve a catalogue through stac-fastapi's routes.

    Every method answers with a finished Response: FastAPI would otherwise walk through all of it again.
    """

    catalogue: SqliteCatalogue = attr.ib()
    addresses: StoreAddresses = attr.ib(default=NO_STORE)

    def landing_page(self, *, request: Request) -> Response:
        """Answer ``GET /``."""
        base_url = get_base_url(request)
        page = self._landing_page(base_url, self.conformance_classes(), extension_schemas=[])
        page["links"] += [
            *link_descriptions(base_url),
            {**make_link("service-desc", f"{base_url}{OPENAPI_PATH}", OPENAPI_JSON), "title": "OpenAPI"},
            {**make_link("service-doc", f"{base_url}{DOCS_PATH}", "text/html"), "title": "Documentation"},
        ]
        return answer(page)

    def all_collections(self, *, request: Request, **kwargs: Parameter) -> Response:
        """Answer ``GET /collections``, which is also the search for collections."""
        refuse_unknown(request, CollectionsParameters)
        fields = kwargs.pop("fields")
        stated: dict[str, Any] = {name: value for name, value in kwargs.items() if value not in (None, "")}
        query = SearchQuery(
            q=read_terms(stated.get("q")),
            bbox=read_numbers(stated.get("bbox")),
            datetime=stated.get("datetime"),
            sortby=read_sortby(stated.get("sortby")),
        )
        page = cut_page(
            self.catalogue.search_collections(q=query.q, bbox=query.bbox, datetime=query.datetime),
            sortby=query.sortby or (),
            limit=stated.get("limit"),
            token=stated.get("token"),
            digest=query.digest(),
        )
        base_url = get_base_url(request)
        url = f"{base_url}collections"
        links = [make_link("self", url, JSON), make_link("root", base_url, JSON)]
        if page.next_token is not None:
            links.append(next_by_get(url, dict(request.query_params), page.next_token, JSON))
        projection = projection_from_text(None if fields is None else str(fields))
        linked = [link_collection(each, base_url, self.addresses) for each in page.collections]
        return answer(
            {
                "collections": linked if projection is None else list(map(projection.of_collection, linked)),
                "links": links,
                "numberMatched": page.total,
                "numberReturned": len(page.collections),
            }
        )

    def get_collection(self, collection_id: str, *, request: Request) -> Response:
        """Answer ``GET /collections/{id}``."""
        collection = self.catalogue.get_collection(collection_id)
        return answer(link_collection(collection, get_base_url(request), self.addresses))

    def get_item(self, item_id: str, collection_id: str, *, request: Request) -> Response:
        """Answer ``GET /collections/{id}/items/{id}``."""
        base_url = get_base_url(request)
        item = link_item(self.catalogue.get_item(collection_id, item_id), base_url, self.addresses)
        item["links"] += link_derivatives(self.catalogue.derivatives(collection_id, item_id), base_url)
        return answer(item, media_type=GEOJSON)

    def item_collection(self, collection_id: str, *, request: Request, **kwargs: Parameter) -> Response:
        """Answer ``GET /collections/{id}/items``."""
        refuse_unknown(request, ItemsParameters)
        if kwargs.pop("collections") not in (None, "", collection_id):
            raise InputError(f"collections names others than {collection_id!r}: ask /search for several")
        # a search in an unknown collection is empty, this is 404
        self.catalogue.get_collection(collection_id)
        base_url = get_base_url(request)
        parent = collection_url(base_url, collection_id)
        page = self.catalogue.search(query_from_text({**kwargs, "collections": collection_id}))
        links = [
            make_link("collection", parent, JSON),
            *_next_by_address(page, f"{parent}/items", request),
        ]
        projection = projection_from_text(kwargs["fields"])  # type: ignore[arg-type]
        return self._answer_page(page, base_url, f"{parent}/items", links, projection)

    def get_search(self, *, request: Request, **kwargs: Parameter) -> Response:
        """Answer ``GET /search``."""
        refuse_unknown(request, SearchParameters)
        projection = projection_from_text(kwargs["fields"])  # type: ignore[arg-type]
        page = self.catalogue.search(query_from_text(kwargs))
        base_url = get_base_url(request)
        links = _next_by_address(page, f"{base_url}search", request)
        return self._answer_page(page, base_url, f"{base_url}search", links, projection)

    def post_search(self, search_request: SearchBody, *, request: Request) -> Response:
        """Answer ``POST /search``."""
        projection = projection_from_body(search_request)
        page = self.catalogue.search(query_from_body(search_request))
        base_url = get_base_url(request)
        url = f"{base_url}search"
        links = []
        if page.next_token is not None:
            links.append(next_by_post(url, search_request.as_sent(), page.next_token))
        return self._answer_page(page, base_url, url, links, projection)

    def _answer_page(
        self, page: SearchPage, base_url: str, url: str, links: list[Link], projection: Projection | None
    ) -> Response:
        features = [link_item(item, base_url, self.addresses) for item in page.items]
        content: dict[str, Any] = {
            "type": "FeatureCollection",
            "features": features if projection is None else list(map(projection.of_item, features)),
            "links": [make_link("self", url, GEOJSON), make_link("root", base_url, JSON), *links],
            "numberReturned": len(page.items),
        }
        if page.total is not None:
            content["numberMatched"] = page.total
        return answer(content, media_type=GEOJSON)


def answer(content: object, *, media_type: str = JSON, status: int = 200) -> Response:
    """Spell an answer as JSON."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return Response(content=text.encode(), media_type=media_type, status_code=status)


def refuse_unknown(request: Request, model: type[APIRequest] | None) -> None:
    """Refuse parameters that would have no effect: an ignored filter finds too much and says nothing.

    Args:
        request: The request.
        model: What its address may hold; None for nothing.

    Raises:
        InputError: a parameter is not known, or stated twice.
    """
    known = [] if model is None else _parameter_names(model)
    stated = [name for name, _ in request.query_params.multi_items()]
    for name in stated:
        if name not in known:
            expected = ", ".join(known) or "none"
            raise InputError(f"parameter {name[:60]!r} is not known here: expected {expected}")
        if stated.count(name) > 1:
            raise InputError(f"parameter {name!r} is stated {stated.count(name)} times: state it once")


def _parameter_names(model: type[APIRequest]) -> list[str]:
    """List the query parameters of a request model as they are spelt in an address."""
    return [
        described.alias or each.name
        for each in attr.fields(model)
        for described in getattr(each.type, "__metadata__", ())
        if isinstance(described, params.Query)
    ]


def _next_by_address(page: SearchPage, url: str, request: Request) -> list[Link]:
    if page.next_token is None:
        return []
    return [next_by_get(url, dict(request.query_params), page.next_token)]
