"""Answer what the extensions to reading add: queryables, sortables, aggregations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import attr
from fastapi import APIRouter, FastAPI, Request, Response
from stac_fastapi.api.models import CollectionUri, EmptyRequest
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.requests import get_base_url
from stac_fastapi.types.search import APIRequest

from catalog.database.backend import SearchQuery, SqliteCatalogue
from catalog.server.aggregation import Aggregation, aggregate, list_aggregations, read_interval, read_names
from catalog.server.conformance import extension_classes
from catalog.server.links import JSON, SCHEMA_JSON, collection_url, make_link
from catalog.server.queryables import describe_queryables, describe_sortables
from catalog.server.reading import Parameter, answer, refuse_unknown
from catalog.server.requests import (
    AggregateBody,
    AggregateParameters,
    CollectionAggregateBody,
    CollectionAggregateParameters,
    conditions_from_body,
    query_from_text,
)
from infra.errors import InputError

_COLLECTION = "/collections/{collection_id}"


class ExtensionRoutes:
    """Say what can be asked of items, and count them.

    Args:
        catalogue: Where to read.
    """

    def __init__(self, catalogue: SqliteCatalogue) -> None:
        self.catalogue = catalogue

    def queryables(self, *, request: Request, collection_id: str | None = None) -> Response:
        """Answer ``GET /queryables`` and ``GET /collections/{id}/queryables``."""
        refuse_unknown(request, None)
        found = self.catalogue.queryables(collection_id)
        url, title = _place(request, collection_id, "queryables")
        return answer(describe_queryables(found, url=url, title=title), media_type=SCHEMA_JSON)

    def sortables(self, *, request: Request, collection_id: str | None = None) -> Response:
        """Answer ``GET /sortables`` and ``GET /collections/{id}/sortables``."""
        refuse_unknown(request, None)
        found = self.catalogue.queryables(collection_id)
        url, title = _place(request, collection_id, "sortables")
        return answer(describe_sortables(found, url=url, title=title), media_type=SCHEMA_JSON)

    def aggregations(self, *, request: Request, collection_id: str | None = None) -> Response:
        """Answer ``GET /aggregations`` and ``GET /collections/{id}/aggregations``."""
        refuse_unknown(request, None)
        if collection_id is not None:
            self.catalogue.get_collection(collection_id)
        return _answer_aggregations(list_aggregations(), request, collection_id, "aggregations")

    def aggregate_by_get(
        self, *, request: Request, collection_id: str | None = None, **kwargs: Parameter
    ) -> Response:
        """Answer ``GET /aggregate`` and ``GET /collections/{id}/aggregate``."""
        refuse_unknown(request, AggregateParameters)
        stated = {name: str(value) for name, value in kwargs.items() if value not in (None, "")}
        query = self._narrow(query_from_text(stated), collection_id)
        names = read_names(stated["aggregations"].split(",") if "aggregations" in stated else None)
        interval = read_interval(stated.get("datetime_frequency_interval"))
        made = aggregate(self.catalogue, query, names, interval)
        return _answer_aggregations(made, request, collection_id, "aggregate")

    def aggregate_by_post(
        self, body: AggregateBody, *, request: Request, collection_id: str | None = None
    ) -> Response:
        """Answer ``POST /aggregate`` and ``POST /collections/{id}/aggregate``."""
        query = self._narrow(conditions_from_body(body), collection_id)
        names, interval = read_names(body.aggregations), read_interval(body.datetime_frequency_interval)
        made = aggregate(self.catalogue, query, names, interval)
        return _answer_aggregations(made, request, collection_id, "aggregate")

    def _narrow(self, query: SearchQuery, collection_id: str | None) -> SearchQuery:
        if collection_id is None:
            return query
        if query.collections not in (None, [collection_id]):
            raise InputError(f"collections names others than {collection_id!r}: ask /aggregate for several")
        self.catalogue.get_collection(collection_id)
        return replace(query, collections=[collection_id])


@attr.s(kw_only=True)
class ReadExtension(ApiExtension):
    """Register the routes of the filter, sort and aggregation extensions.

    stac-fastapi's own extensions would answer dictionaries that FastAPI walks through again.
    """

    routes: ExtensionRoutes = attr.ib()
    conformance_classes: list[str] = attr.ib(factory=extension_classes)

    def register(self, app: FastAPI) -> None:
        """Add the routes to the application."""
        router = APIRouter(prefix=app.state.router_prefix)
        routes = self.routes
        table: list[tuple[str, str, Callable[..., Response], type]] = [
            ("GET", "queryables", routes.queryables, EmptyRequest),
            ("GET", "sortables", routes.sortables, EmptyRequest),
            ("GET", "aggregations", routes.aggregations, EmptyRequest),
            ("GET", "aggregate", routes.aggregate_by_get, AggregateParameters),
            ("POST", "aggregate", routes.aggregate_by_post, AggregateBody),
        ]
        for method, name, handler, model in table:
            _add(router, method, f"/{name}", handler, model)
            _add(router, method, f"{_COLLECTION}/{name}", handler, _OF_COLLECTION.get(model, CollectionUri))
        app.include_router(router, tags=["Extensions"])


_OF_COLLECTION: dict[type, type[APIRequest]] = {
    AggregateParameters: CollectionAggregateParameters,
    AggregateBody: CollectionAggregateBody,
}
"""What the same request takes below a collection."""


def _add(router: APIRouter, method: str, path: str, handler: Callable[..., Response], model: type) -> None:
    scope = " of a collection" if path.startswith(_COLLECTION) else ""
    router.add_api_route(
        path=path,
        name=f"{path.rpartition('/')[2].capitalize()}{scope}",
        methods=[method],
        response_class=Response,
        endpoint=create_async_endpoint(handler, model),
    )


def _place(request: Request, collection: str | None, name: str) -> tuple[str, str]:
    """Give the address and the title of a description."""
    base_url = get_base_url(request)
    if collection is None:
        return f"{base_url}{name}", f"{name.capitalize()} of all items"
    return f"{collection_url(base_url, collection)}/{name}", f"{name.capitalize()} of {collection}"


def _answer_aggregations(
    aggregations: list[Aggregation], request: Request, collection: str | None, name: str
) -> Response:
    url, _ = _place(request, collection, name)
    links = [make_link("self", url, JSON), make_link("root", get_base_url(request), JSON)]
    return answer({"type": "AggregationCollection", "aggregations": aggregations, "links": links})
