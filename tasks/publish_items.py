"""Publish finished cubes: the upsert is the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from prefect import task
from pydantic import SecretStr

from catalog.client import UpsertResult, open_catalogue
from catalog.cubes.receipts import read_cube_receipt
from catalog.items.collections import collection_document
from catalog.items.scene import scene_item
from catalog.records import CubePlan
from infra.errors import InternalError
from infra.storage import open_storage
from tasks.policies import NETWORK


@task(**NETWORK)
def publish_items(
    store_uri: str,
    plans: Sequence[CubePlan],
    *,
    catalogue: str,
    token: SecretStr | None,
    execution_href: str | None,
) -> UpsertResult:
    """Upsert the items of cubes whose receipts stand.

    Args:
        store_uri: Root of the store.
        plans: Cubes to publish.
        catalogue: STAC API URL or SQLite path.
        token: Bearer token for an API.
        execution_href: Lasting URL of this run, for the lineage of items that are new; None leaves it out.

    Raises:
        InternalError: a receipt is missing, so the cube must not be published.
    """
    storage = open_storage(store_uri)
    receipts = []
    for plan in plans:
        receipt = read_cube_receipt(storage, plan)
        if receipt is None:
            raise InternalError(f"cube {plan.id} was to be published, but has no receipt")
        receipts.append(receipt)
    with closing(open_catalogue(catalogue, token=token.get_secret_value() if token else None)) as client:
        client.upsert_collection(collection_document("scenes"))
        known = {item["id"]: _execution_of(item) for item in client.items("scenes", [p.id for p in plans])}
        return client.upsert_items(
            scene_item(
                plan, receipt, root_href=storage.uri, execution_href=known.get(plan.id, execution_href)
            )
            for plan, receipt in zip(plans, receipts, strict=True)
        )


def _execution_of(item: Mapping[str, Any]) -> str | None:
    """Return the run that an item names already: a run that reuses a cube did not make it."""
    links = (link for link in item.get("links", []) if link.get("rel") == "processing-execution")
    return next((str(link["href"]) for link in links), None)
