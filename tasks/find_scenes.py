"""Look published products up that are to be registered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from prefect import task
from pydantic import SecretStr

from catalog.client import open_catalogue
from catalog.items.collections import OSM, SCENES
from catalog.registrations.plan import SceneFacts
from catalog.registrations.scenes import describe_scene
from infra.errors import NotFoundError
from infra.storage import open_storage
from tasks.policies import NETWORK


@task(**NETWORK)
def find_scenes(
    store_uri: str, ids: Sequence[str], *, catalogue: str, token: SecretStr | None
) -> list[SceneFacts]:
    """Read the items of cubes and drawn maps, in the order of their ids.

    Args:
        store_uri: Root of the store that holds their products.
        ids: Item ids.
        catalogue: STAC API URL or SQLite path.
        token: Bearer token for an API.

    Raises:
        NotFoundError: the catalogue has no such cube or map.
        InputError: the product is not in this store.
        DataError: an item does not describe its pixels.
    """
    storage = open_storage(store_uri)
    with closing(open_catalogue(catalogue, token=token.get_secret_value() if token else None)) as client:
        known = {each["id"] for each in client.collections()}
        found = {
            item["id"]: item for name in (SCENES, OSM) if name in known for item in client.items(name, ids)
        }
    missing = next((name for name in ids if name not in found), None)
    if missing is not None:
        raise NotFoundError(
            f"the catalogue of {storage.uri} has no cube or drawn map {missing!r}; "
            "'terraloom items' lists what there is"
        )
    return [describe_scene(storage, found[name]) for name in ids]
