"""List published scenes by the collection they come from."""

from __future__ import annotations

from contextlib import closing

from prefect import task
from pydantic import SecretStr

from catalog.client import SearchQuery, open_catalogue
from catalog.items.collections import SCENES
from infra.errors import NotFoundError
from tasks.policies import NETWORK


@task(**NETWORK)
def list_scenes(collection: str, *, catalogue: str, token: SecretStr | None) -> list[str]:
    """Return the ids of scenes, sorted.

    Args:
        collection: ``scenes`` for all, or the id of the collection that they were ingested from.
        catalogue: STAC API URL or SQLite path.
        token: Bearer token for an API.

    Raises:
        NotFoundError: there are none.
    """
    with closing(open_catalogue(catalogue, token=token.get_secret_value() if token else None)) as client:
        known = {each["id"] for each in client.collections()}
        found = client.search(SearchQuery(collections=[SCENES])) if SCENES in known else iter(())
        ids = sorted(
            item["id"]
            for item in found
            if collection == SCENES or collection in item["properties"].get("keywords", ())
        )
    if not ids:
        raise NotFoundError(
            f"the catalogue has no scene of collection {collection!r}; give 'scenes' for all, or look with "
            "'terraloom items'"
        )
    return ids
