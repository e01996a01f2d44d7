"""List published scenes by the collection they come from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

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
        ids = sorted(item["id"] for item in found if collection in (SCENES, _find_source(item)))
    if not ids:
        raise NotFoundError(
            f"the catalogue has no scene of collection {collection!r}; give 'scenes' for all, or look with "
            "'terraloom items'"
        )
    return ids


def _find_source(item: Mapping[str, Any]) -> str | None:
    """Return the id of the collection that a scene was ingested from: an item's first keyword, as published.

    The keywords after it are free words, like ``optical``, and name no collection.
    """
    keywords = item["properties"].get("keywords")
    return keywords[0] if isinstance(keywords, list) and keywords else None
