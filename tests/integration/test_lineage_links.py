"""Scenes lead to what was made from them, and back."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from catalog.client import EmbeddedClient
from catalog.server.app import create_app, serving
from catalog.server.rates import RateLimits
from tests.support.many_items import collection_of, many_items

HEADERS = {"Authorization": "Bearer t0ken"}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "catalogue.sqlite"
    with EmbeddedClient(path) as client:
        client.upsert_collection(collection_of("scenes"))
        client.upsert_collection(collection_of("embeddings"))
        scene, product = many_items(2)
        client.upsert_items([scene | {"id": "scene ä", "collection": "scenes", "links": []}])
        link = {"rel": "derived_from", "href": "../../scenes/items/scene%20%C3%A4", "title": "scene ä"}
        client.upsert_items([product | {"id": "e1", "collection": "embeddings", "links": [link]}])
    with serving(create_app(path, token="t0ken", limits=RateLimits())) as url:
        yield url


def _links(url: str, rel: str) -> list[dict[str, str]]:
    answer = httpx.get(url)
    assert answer.status_code == 200, answer.text
    return [link for link in answer.json()["links"] if link["rel"] == rel]


def test_a_scene_names_its_products_and_they_name_it(web: str) -> None:
    scene_url = f"{web}/collections/scenes/items/scene%20%C3%A4"
    (made,) = _links(scene_url, "derivative")
    assert made["href"] == f"{web}/collections/embeddings/items/e1"
    assert made["title"].endswith("(embeddings)")
    (source,) = _links(made["href"], "derived_from")
    assert unquote(source["href"]) == unquote(scene_url)
    assert httpx.get(source["href"]).json()["id"] == "scene ä"


def test_reading_and_writing_back_changes_nothing(web: str, tmp_path: Path) -> None:
    for url in (f"{web}/collections/scenes/items/scene%20%C3%A4", f"{web}/collections/embeddings/items/e1"):
        before = httpx.get(url).json()
        assert httpx.put(url, json=before, headers=HEADERS).json()["properties"] == before["properties"]
        assert httpx.get(url).json() == before


def test_a_product_that_goes_takes_its_link_along(web: str) -> None:
    scene_url = f"{web}/collections/scenes/items/scene%20%C3%A4"
    assert httpx.delete(f"{web}/collections/embeddings/items/e1", headers=HEADERS).status_code == 204
    assert _links(scene_url, "derivative") == []


def test_a_product_that_changes_its_source_leaves_the_old_one(web: str) -> None:
    url = f"{web}/collections/embeddings/items/e1"
    item = httpx.get(url).json()
    item["links"] = [{"rel": "derived_from", "href": "../../scenes/items/another"}]
    assert httpx.put(url, json=item, headers=HEADERS).status_code == 200
    assert _links(f"{web}/collections/scenes/items/scene%20%C3%A4", "derivative") == []


def test_relative_hrefs_that_only_look_like_ours_stay(web: str) -> None:
    url = f"{web}/collections/embeddings/items/e1"
    item = httpx.get(url).json()
    item["assets"]["picture"] = {"href": "data/items/picture.tif"}
    assert httpx.put(url, json=item, headers=HEADERS).status_code == 200
    assert httpx.get(url).json()["assets"]["picture"]["href"] == "data/items/picture.tif"


def test_half_a_surrogate_pair_in_fields_is_refused(web: str) -> None:
    body = '{"limit": 1, "fields": {"exclude": ["\\ud800"]}}'
    answer = httpx.post(f"{web}/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
