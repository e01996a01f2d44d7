"""Static catalogues on the local disk: every form a person may name."""

import json

import pytest

from catalog.search.find import find_scenes, make_query, search_scenes
from catalog.sources.presets import resolve_source
from infra.errors import DataError, InputError, NotFoundError

BAND = {"raster:bands": [{"data_type": "uint8", "nodata": 0, "scale": 1, "offset": 0}]}


def make_item(number, *, collection="mine", **changes):
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number}",
        "geometry": None,
        "bbox": [number, 50, number + 1, 51],
        "properties": {"datetime": f"2020-06-0{1 + number}T10:00:00Z"},
        "links": [],
        "assets": {"red": {"href": f"./{number}.tif", "type": "image/tiff", **BAND}},
    }
    return {**item, **({"collection": collection} if collection else {}), **changes}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def search(path, collections=(), **wanted):
    source = resolve_source(str(path))
    return search_scenes(source, collections=collections, **{"bbox": None, "datetime_range": None, **wanted})


@pytest.fixture
def catalogue(tmp_path):
    root = tmp_path / "catalogue"
    links = [{"rel": "item", "href": f"./items/{number}.json"} for number in range(3)]
    write(
        root / "catalog.json",
        {"type": "Catalog", "id": "c", "links": [{"rel": "child", "href": "./collection.json"}]},
    )
    write(root / "collection.json", {"type": "Collection", "id": "mine", "title": "Mine", "links": links})
    for number in range(3):
        write(root / "items" / f"{number}.json", make_item(number))
    features = [make_item(number) for number in range(3)]
    write(root / "items.geojson", {"type": "FeatureCollection", "features": features})
    return root


@pytest.mark.parametrize("name", ["", "catalog.json", "collection.json", "items", "items.geojson"])
def test_every_form_of_a_catalogue(catalogue, name):
    scenes = search(catalogue / name)
    assert [scene.id for scene in scenes] == ["item-0", "item-1", "item-2"]
    folder = catalogue if name == "items.geojson" else catalogue / "items"
    assert scenes[1].bands[0].href == str(folder / "1.tif")
    assert scenes[1].title == ("Mine" if "items" not in name else None)


def test_one_item_is_a_catalogue_too(catalogue):
    (scene,) = search(catalogue / "items" / "1.json")
    assert scene.self_href == str(catalogue / "items" / "1.json")


def test_old_catalogues_without_types(catalogue):
    for name in ("catalog.json", "collection.json"):
        content = json.loads((catalogue / name).read_text())
        content.pop("type")
        write(catalogue / name, {**content, **({"extent": {}} if name.startswith("coll") else {})})
    assert len(search(catalogue, ["mine"])) == 3


def test_area_time_and_collection(catalogue):
    assert [s.id for s in search(catalogue, bbox=(1.2, 50, 1.5, 51))] == ["item-1"]
    assert [s.id for s in search(catalogue, datetime_range="2020-06-02/..")] == ["item-1", "item-2"]
    assert search(catalogue, ["mine"], bbox=(100, 0, 101, 1)) == []
    with pytest.raises(InputError, match="did you mean 'mine'"):
        search(catalogue, ["mines"])


def test_items_without_collection_have_a_name(tmp_path):
    path = write(tmp_path / "item.json", make_item(0, collection=None))
    assert [scene.collection for scene in search(path, ["uncollected"])] == ["uncollected"]
    with pytest.raises(InputError, match="available: uncollected"):
        search(path, ["mine"])


def test_loops_and_repeats_are_walked_once(catalogue):
    content = json.loads((catalogue / "collection.json").read_text())
    content["links"] += [
        {"rel": "child", "href": "./catalog.json"},
        {"rel": "item", "href": "items/../items/1.json"},
    ]
    write(catalogue / "collection.json", content)
    assert len(search(catalogue)) == 3


@pytest.mark.parametrize(
    ("href", "error", "message"),
    [
        ("../outside.json", InputError, "outside the catalogue's folder"),
        ("http://127.0.0.1:1/x.json", InputError, "plain http"),
        ("none.json", NotFoundError, "does not exist"),
        ("broken.json", DataError, "is not JSON"),
        ("list.json", DataError, "JSON list"),
        ("geo.json", DataError, "no STAC items"),
        ("other.json", DataError, "no STAC"),
    ],
)
def test_links_that_lead_nowhere(catalogue, href, error, message):
    (catalogue / "broken.json").write_text("{")
    (catalogue / "list.json").write_text("[]")
    write(catalogue / "geo.json", {"type": "FeatureCollection", "features": [{"type": "Feature"}]})
    write(catalogue / "other.json", {"type": "Topology"})
    write(
        catalogue / "catalog.json", {"type": "Catalog", "id": "c", "links": [{"rel": "item", "href": href}]}
    )
    with pytest.raises(error) as refused:
        search(catalogue)
    assert message in str(refused.value)


def test_folders_without_a_catalogue_say_how_to_make_one(tmp_path):
    with pytest.raises(NotFoundError, match="name its folder"):
        search(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "image.TIF").write_bytes(b"")
    with pytest.raises(NotFoundError, match="make one: terraloom stac"):
        search(tmp_path)


def test_broken_items_are_rejected_not_lost(catalogue):
    write(catalogue / "items" / "1.json", make_item(1, properties={}))
    write(
        catalogue / "items" / "2.json",
        make_item(2, assets={"notes": {"href": "x.txt", "type": "text/plain"}}),
    )
    found = find_scenes(resolve_source(str(catalogue)), make_query((), None, None))
    assert [scene.id for scene in found.scenes] == ["item-0"]
    assert [(entry.id, entry.collection) for entry in found.rejected] == [
        ("item-1", "mine"),
        ("item-2", "mine"),
    ]


def test_the_same_item_twice_is_one(catalogue, caplog):
    content = {
        "type": "FeatureCollection",
        "features": [make_item(0), make_item(0), make_item(0, bbox=[0, 1, 2, 3])],
    }
    path = write(catalogue / "twice.geojson", content)
    assert len(search(path)) == 1
    assert "is there twice" in caplog.text
