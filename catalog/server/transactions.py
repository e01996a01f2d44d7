"""Answer the write side of the STAC API: transactions and bulk upsert; ``guard`` decides who may write."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import attr
from fastapi import APIRouter, FastAPI, Request, Response, params
from stac_fastapi.api.models import CollectionUri, ItemUri
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.extensions.bulk_transactions import BaseBulkTransactionsClient, Items
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.requests import get_base_url
from stac_fastapi.types.search import APIRequest

from catalog.database.documents import Document, check_item
from catalog.database.filters import SearchQuery
from catalog.database.writing import ConflictError, UpsertResult, WriteMode
from catalog.server.addresses import NO_STORE, StoreAddresses
from catalog.server.links import GEOJSON, JSON, collection_url, item_url, link_collection, link_item
from catalog.server.reading import answer
from catalog.server.requests import (
    PatchCollection,
    PatchItem,
    PostCollection,
    PostItem,
    PutCollection,
    PutItem,
)
from catalog.server.writable import WritableCatalogue
from infra.errors import InputError

_COLLECTION = "/collections/{collection_id}"
_MAX_FAULTS = 100
_ITEM = "/collections/{collection_id}/items/{item_id}"


class WriteRoutes:
    """Write single documents; the answer is the document as stored.

    Args:
        catalogue: Where to write.
        addresses: Where the store's files are served: their URLs are written as the store spells them.
    """

    def __init__(self, catalogue: WritableCatalogue, addresses: StoreAddresses = NO_STORE) -> None:
        self.catalogue = catalogue
        self.addresses = addresses

    def create_item(self, collection_id: str, item: Document, *, request: Request) -> Response:
        """Answer ``POST /collections/{id}/items``: one item, or a FeatureCollection, all or nothing."""
        item = self._as_stored(item, request)
        if item.get("type") == "FeatureCollection":
            members = item.get("features")
            if not isinstance(members, list):
                raise InputError("the FeatureCollection has no list of features")
            counts = _write_batch(
                self.catalogue, collection_id, [(None, member) for member in members], "insert"
            )
            return answer({"created": counts.created}, status=201)
        placed = place(item, collection_id)
        self.catalogue.upsert_items([placed], mode="insert")
        response = self._answer_item(collection_id, placed["id"], request, status=201)
        response.headers["Location"] = item_url(get_base_url(request), collection_id, placed["id"])
        return response

    def update_item(self, collection_id: str, item_id: str, item: Document, *, request: Request) -> Response:
        """Answer ``PUT /collections/{id}/items/{id}``."""
        placed = place(self._as_stored(item, request), collection_id, item_id)
        self.catalogue.upsert_items([placed], mode="replace")
        return self._answer_item(collection_id, item_id, request)

    def patch_item(self, collection_id: str, item_id: str, patch: Document, *, request: Request) -> Response:
        """Answer ``PATCH /collections/{id}/items/{id}`` with a JSON merge patch."""
        self.catalogue.patch_item(collection_id, item_id, self._as_stored(patch, request))
        return self._answer_item(collection_id, item_id, request)

    def delete_item(self, item_id: str, collection_id: str, *, request: Request) -> Response:
        """Answer ``DELETE /collections/{id}/items/{id}``."""
        self.catalogue.delete_item(collection_id, item_id)
        return Response(status_code=204)

    def create_collection(self, collection: Document, *, request: Request) -> Response:
        """Answer ``POST /collections``."""
        self.catalogue.write_collection(self._as_stored(collection, request), exists=False)
        response = self._answer_collection(collection["id"], request, status=201)
        response.headers["Location"] = collection_url(get_base_url(request), collection["id"])
        return response

    def update_collection(self, collection_id: str, collection: Document, *, request: Request) -> Response:
        """Answer ``PUT /collections/{id}``."""
        if collection.setdefault("id", collection_id) != collection_id:
            raise InputError(f"the body's id {collection['id']!r} is not the address's {collection_id!r}")
        self.catalogue.write_collection(self._as_stored(collection, request), exists=True)
        return self._answer_collection(collection_id, request)

    def patch_collection(self, collection_id: str, patch: Document, *, request: Request) -> Response:
        """Answer ``PATCH /collections/{id}`` with a JSON merge patch."""
        self.catalogue.patch_collection(collection_id, self._as_stored(patch, request))
        return self._answer_collection(collection_id, request)

    def delete_collection(self, collection_id: str, *, request: Request) -> Response:
        """Answer ``DELETE /collections/{id}``; its items go with it."""
        self.catalogue.delete_collection(collection_id)
        return Response(status_code=204)

    def _as_stored(self, document: Document, request: Request) -> Document:
        return self.addresses.from_web(document, get_base_url(request))

    def _answer_item(self, collection: str, item_id: str, request: Request, *, status: int = 200) -> Response:
        stored = self.catalogue.get_item(collection, item_id)
        item = link_item(stored, get_base_url(request), self.addresses)
        return answer(item, media_type=GEOJSON, status=status)

    def _answer_collection(self, collection: str, request: Request, *, status: int = 200) -> Response:
        stored = self.catalogue.get_collection(collection)
        document = link_collection(stored, get_base_url(request), self.addresses)
        return answer(document, media_type=JSON, status=status)


@attr.s(kw_only=True)
class BulkClient(BaseBulkTransactionsClient):
    """Write many items in one transaction; the answer is the counts, and what became of each item."""

    catalogue: WritableCatalogue = attr.ib()
    addresses: StoreAddresses = attr.ib(default=NO_STORE)

    def bulk_item_insert(self, items: Items, chunk_size: int | None = None, **kwargs: Request) -> Response:
        """Answer ``POST /collections/{id}/bulk_items``; ``method`` is ``insert`` or ``upsert``."""
        collection_id: str = kwargs["request"].path_params["collection_id"]
        base_url = get_base_url(kwargs["request"])
        self.catalogue.get_collection(collection_id)
        mode: WriteMode = "upsert" if items.method == "upsert" else "insert"
        counts = _write_batch(
            self.catalogue,
            collection_id,
            [(item_id, self.addresses.from_web(item, base_url)) for item_id, item in items.items.items()],
            mode,
        )
        return answer(
            {
                "received": len(items.items),
                "success": len(items.items),
                "skipped": counts.unchanged,
                "errors": [],
                "created": counts.created,
                "updated": counts.updated,
                "unchanged": counts.unchanged,
                "results": [{"id": item_id, "status": status} for item_id, status in counts.outcomes],
            }
        )


@attr.s(kw_only=True)
class WriteExtension(ApiExtension):
    """Register the routes of the STAC API transaction extension, with plain JSON bodies.

    stac-fastapi's own extension reads bodies into models that respell date-times and drop what they do not
    know; here a document is stored as it was sent.
    """

    routes: WriteRoutes = attr.ib()
    dependencies: list[params.Depends] = attr.ib()
    conformance_classes: list[str] = attr.ib()

    def register(self, app: FastAPI) -> None:
        """Add the routes to the application."""
        router = APIRouter(prefix=app.state.router_prefix)
        table: list[tuple[str, str, Callable[..., Response], type[APIRequest]]] = [
            ("POST", "/collections", self.routes.create_collection, PostCollection),
            ("PUT", _COLLECTION, self.routes.update_collection, PutCollection),
            ("PATCH", _COLLECTION, self.routes.patch_collection, PatchCollection),
            ("DELETE", _COLLECTION, self.routes.delete_collection, CollectionUri),
            ("POST", f"{_COLLECTION}/items", self.routes.create_item, PostItem),
            ("PUT", _ITEM, self.routes.update_item, PutItem),
            ("PATCH", _ITEM, self.routes.patch_item, PatchItem),
            ("DELETE", _ITEM, self.routes.delete_item, ItemUri),
        ]
        for method, path, handler, parameters in table:
            router.add_api_route(
                path=path,
                name=handler.__name__.replace("_", " ").capitalize(),
                methods=[method],
                status_code={"POST": 201, "DELETE": 204}.get(method, 200),
                response_class=Response,
                endpoint=create_async_endpoint(handler, parameters),
                dependencies=self.dependencies,
            )
        app.include_router(router, tags=["Transactions"])


def _write_batch(
    catalogue: WritableCatalogue,
    collection: str,
    members: Sequence[tuple[str | None, object]],
    mode: WriteMode,
) -> UpsertResult:
    """Write all items or none; a refusal names every item that is at fault, not only the first.

    Args:
        catalogue: Where to write.
        collection: Id that the address names.
        members: Id that the request gives to an item (None where only the item tells), and the item.
        mode: As ``SqliteCatalogue.upsert_items`` takes it.

    Raises:
        InputError: items are malformed, or exist (``ConflictError``); ``errors`` in its context holds ids and
            reasons.
    """
    try:
        return catalogue.upsert_items((place(item, collection, name) for name, item in members), mode=mode)
    except ConflictError as exc:
        ids = [_label(name, item, position) for position, (name, item) in enumerate(members)]
        query = SearchQuery(collections=[collection], ids=ids, limit=_MAX_FAULTS)
        faults = [
            (item["id"], "exists already: PUT or upsert changes it") for item in catalogue.search(query).items
        ]
        raise ConflictError(_summarise(exc, faults, len(members)), errors=faults) from exc
    except InputError as exc:
        # looked for only now: checking each sound batch twice would cost every writer
        faults = list(itertools.islice(_find_faults(members, collection), _MAX_FAULTS))
        raise InputError(_summarise(exc, faults, len(members)), errors=faults) from exc


def _find_faults(members: Sequence[tuple[str | None, object]], collection: str) -> Iterator[tuple[str, str]]:
    for position, (name, item) in enumerate(members):
        try:
            check_item(place(item, collection, name))
        except InputError as exc:
            yield _label(name, item, position), exc.message


def _label(name: str | None, item: object, position: int) -> str:
    stated = name if name is not None or not isinstance(item, dict) else item.get("id")
    return stated if isinstance(stated, str) else f"number {position + 1}"


def _summarise(exc: InputError, faults: Sequence[object], received: int) -> str:
    if len(faults) < 2:
        return exc.message
    count = f"{_MAX_FAULTS} or more" if len(faults) == _MAX_FAULTS else str(len(faults))
    return f"nothing was written, {count} of {received} items are at fault; the first: {exc.message}"


def place(item: object, collection: str, item_id: str | None = None) -> Document:
    """Return the item with the collection (and id) of the address it was sent to.

    Raises:
        InputError: not an object, or the body names another collection or id.
    """
    if not isinstance(item, dict):
        raise InputError(f"an item is {type(item).__name__}: expected a STAC Item object")
    placed: Document = {**item, "collection": item.get("collection") or collection}
    if item_id is not None:
        placed.setdefault("id", item_id)
    if placed["collection"] != collection:
        raise InputError(
            f"item {placed.get('id')!r} names collection {placed['collection']!r}, its address {collection!r}"
        )
    if item_id is not None and placed["id"] != item_id:
        raise InputError(f"the item's id {placed['id']!r} is not its address's {item_id!r}")
    return placed
