"""Compare what was planned with what stands in the store and in the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from prefect import task
from pydantic import SecretStr

from catalog.client import open_catalogue
from catalog.products import ProductPlan, collection_of, receipt_of
from infra.errors import InternalError
from infra.storage import open_storage
from tasks.policies import NETWORK


@task(**NETWORK)
def reconcile_run(
    store_uri: str,
    planned: Sequence[ProductPlan],
    *,
    quarantined: Sequence[str],
    catalogue: str,
    token: SecretStr | None,
) -> int:
    """Check planned = standing + quarantined, and standing = catalogued.

    Returns:
        How many items of this plan the catalogue holds.

    Raises:
        InternalError: they differ; the message names a missing id.
    """
    storage = open_storage(store_uri)
    expected = {plan.id for plan in planned} - set(quarantined)
    standing = {plan.id for plan in planned if receipt_of(storage, plan) is not None}
    catalogued: set[str] = set()
    with closing(open_catalogue(catalogue, token=token.get_secret_value() if token else None)) as client:
        for collection in sorted({collection_of(plan) for plan in planned}):
            wanted = sorted(expected & {plan.id for plan in planned if collection_of(plan) == collection})
            catalogued |= {item["id"] for item in client.items(collection, wanted)} if wanted else set()
    for name, found in (("the store", standing), ("the catalogue", catalogued)):
        if found != expected:
            example = min(found ^ expected)
            raise InternalError(
                f"{len(expected)} products should stand, {name} holds {len(found)} of them (e.g. {example!r})"
            )
    return len(catalogued)
