"""Publish finished products: the upsert is the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from prefect import task
from pydantic import SecretStr

from catalog.client import UpsertResult, open_catalogue
from catalog.items.collections import collection_document
from catalog.products import ProductPlan, collection_of, item_of
from infra.storage import open_storage
from tasks.policies import NETWORK


@task(**NETWORK)
def publish_items(
    store_uri: str,
    plans: Sequence[ProductPlan],
    *,
    catalogue: str,
    token: SecretStr | None,
    execution_href: str | None,
) -> UpsertResult:
    """Upsert the items of products whose receipts stand.

    Args:
        store_uri: Root of the store.
        plans: Products to publish, one at least, all of one collection.
        catalogue: STAC API URL or SQLite path.
        token: Bearer token for an API.
        execution_href: Lasting URL of this run, for the lineage of items that are new; None leaves it out.

    Raises:
        InternalError: a receipt is missing, so the product must not be published.
    """
    storage = open_storage(store_uri)
    with closing(open_catalogue(catalogue, token=token.get_secret_value() if token else None)) as client:
        collection = collection_of(plans[0])
        client.upsert_collection(collection_document(collection))
        known = {item["id"]: _execution_of(item) for item in client.items(collection, [p.id for p in plans])}
        # All at once: a missing receipt must show before the first item is written.
        items = [item_of(storage, p, execution_href=known.get(p.id, execution_href)) for p in plans]
        return client.upsert_items(items)


def _execution_of(item: Mapping[str, Any]) -> str | None:
    """Return the run that an item names already: a run that reuses a product did not make it."""
    links = (link for link in item.get("links", []) if link.get("rel") == "processing-execution")
    return next((str(link["href"]) for link in links), None)
