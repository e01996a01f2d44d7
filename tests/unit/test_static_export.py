"""Static catalogues: trees of JSON files that stand anywhere, and carry off only what is ours to show."""

import json
import re

import pystac
import pytest
import shapely
from pystac_client import Client
from pystac_client.warnings import PystacClientWarning

from catalog.exports.asset_files import AssetFiles, AssetMode
from catalog.exports.static_catalogue import page_folder, slug_of, write_static_catalogue
from catalog.search.find import search_scenes
from catalog.sources.presets import resolve_source
from infra.errors import DataError, InputError, NotFoundError
from infra.storage import LocalStorage, open_storage
from tests.support.schemas import validate_collection, validate_item

KEEP = AssetFiles()


def make_item(item_id="a", *, west=10.5, south=50.25, when="2024-05-01T10:00:00Z", **properties):
    shape = shapely.box(west, south, west + 1.0, south + 1.0)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "scenes",
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when, **properties},
        "links": [{"rel": "derived_from", "href": "https://example.org/a"}],
        "assets": {"data": {"href": "/data/a.tif", "roles": ["data"]}},
    }


def spell(documents):
    """Spell documents so that 1 and 1.0, null and absent, [] and {} differ."""
    return [json.dumps(document, sort_keys=True) for document in documents]


def make_collection(name="scenes", **more):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": f"All {name}",
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [
            {"rel": "license", "href": "https://example.org/licence"},
            {"rel": "self", "href": "http://127.0.0.1:8081/collections/scenes"},
        ],
        "extent": {
            "spatial": {"bbox": [[10, 50, 11, 51]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
        **more,
    }


def export_static(target, items, *, collections=None, assets=KEEP, **more):
    collections = [make_collection()] if collections is None else collections
    by_collection = items if isinstance(items, dict) else {"scenes": items}
    return write_static_catalogue(
        collections, lambda name: iter(by_collection.get(name, [])), target, assets=assets, **more
    )


def json_files(folder):
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in folder.rglob("*.json")
    }


class TestStaticTree:
    def test_pystac_walks_it_and_every_document_is_valid(self, tmp_path):
        items = [make_item(f"i{n}", west=n + 0.5, title=f"Number {n}") for n in range(7)]
        tree = export_static(
            LocalStorage(tmp_path / "out"), items, collections=[make_collection(), make_collection("empty")]
        )
        assert (tree.collections, tree.items, tree.copied) == (2, 7, 0)
        catalogue = pystac.Catalog.from_file(tree.root)
        assert [each.id for each in catalogue.get_children()] == ["scenes", "empty"]
        found = {item.id: item for item in catalogue.get_items(recursive=True)}
        assert set(found) == {item["id"] for item in items}
        for item in found.values():
            assert item.get_root().id == "terraloom-export"
            assert item.get_collection().id == item.get_parent().id == "scenes"
            assert item.assets["data"].get_absolute_href() == "/data/a.tif"
        for name, document in json_files(tmp_path / "out").items():
            hrefs = {link["rel"]: link["href"] for link in document["links"]}
            assert "self" not in hrefs, name
            if document["type"] == "Feature":
                validate_item(document, extensions=False)
                assert hrefs["derived_from"] == "https://example.org/a"
            elif document["type"] == "Collection":
                validate_collection(document, extensions=False)
                assert hrefs["license"] == "https://example.org/licence"

    def test_items_are_otherwise_as_they_were(self, tmp_path):
        item = make_item("a", title="水", nested={"deep": [1, 2.5, None]})
        export_static(LocalStorage(tmp_path), [item])
        written = json.loads((tmp_path / "scenes" / "a" / "a.json").read_text())
        assert spell([{**written, "links": []}]) == spell([{**item, "links": []}])

    def test_pystac_client_opens_it(self, tmp_path):
        tree = export_static(LocalStorage(tmp_path), [make_item("a")])
        with pytest.warns(PystacClientWarning):  # files promise no conformance: it goes by the links
            found = [item.id for item in Client.open(tree.root).get_collection("scenes").get_items()]
        assert found == ["a"]

    def test_it_is_a_source_for_runs(self, tmp_path):
        band = {"data_type": "uint8", "nodata": 0, "scale": 1, "offset": 0}
        asset = {"href": "https://example.org/a.tif", "type": "image/tiff", "raster:bands": [band]}
        items = [{**make_item(f"i{n}"), "assets": {"red": asset}} for n in range(3)]
        tree = export_static(LocalStorage(tmp_path), items)
        found = search_scenes(
            resolve_source(tree.root),
            collections=["scenes"],
            bbox=None,
            datetime_range=None,
        )
        assert len(list(found)) == 3

    @pytest.mark.parametrize("count", [4, 5, 20, 21, 40])
    def test_many_items_are_paged(self, tmp_path, monkeypatch, count):
        """With four links a page: one page, two, five in one folder, and groups of pages."""
        monkeypatch.setattr("catalog.exports.static_catalogue.PAGE_LINKS", 4)
        items = [make_item(f"i{n:03}") for n in range(count)]
        tree = export_static(LocalStorage(tmp_path), items)
        catalogue = pystac.Catalog.from_file(tree.root)
        read = list(catalogue.get_items(recursive=True))
        assert sorted(item.id for item in read) == [item["id"] for item in items]
        assert {item.get_collection().id for item in read} == {"scenes"}
        assert {item.get_root().get_self_href() for item in read} == {tree.root}
        for path in tmp_path.rglob("*.json"):
            links = json.loads(path.read_text())["links"]
            assert len([link for link in links if link["rel"] in {"item", "child"}]) <= 4
            for link in links:
                if not link["href"].startswith("http"):
                    assert (path.parent / link["href"]).is_file(), (path, link)
        assert max(len(list(path.iterdir())) for path in tmp_path.rglob("*") if path.is_dir()) <= 4 + 1

    def test_pages_of_a_million(self):
        assert page_folder(0, 1) == ""
        assert page_folder(999, 1000) == "0999"
        assert page_folder(1000, 1001) == "0001/0000"
        assert page_folder(123_456, 1_000_000) == "0123/0456"

    @pytest.mark.parametrize(
        "name",
        ["a b", "ä水", "a#b?c%d", "..x", ".hidden", "x" * 255, "水" * 255, "~", "a~0123456789abcdef", "-x"],
    )
    def test_odd_ids_make_names_that_mean_the_same_in_paths_and_urls(self, tmp_path, name):
        items = [make_item(name), make_item(f"{name}2"[-255:])]
        for item in items:
            item["collection"] = name
        tree = export_static(LocalStorage(tmp_path), {name: items}, collections=[make_collection(name)])
        read = pystac.Catalog.from_file(tree.root).get_items(recursive=True)
        assert sorted(item.id for item in read) == sorted(item["id"] for item in items)
        for path in tmp_path.rglob("*"):
            assert re.fullmatch(r"[A-Za-z0-9._~-]{1,150}", path.name)

    def test_two_ids_never_share_a_name(self):
        names = ["a b", "a-b", "a  b", "a/b", "A b", slug_of("a b"), "x" * 200, "x" * 201]
        assert len({slug_of(name) for name in names}) == len(names)


class TestPlacesOfTrees:
    def test_a_place_with_other_things(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="other things"):
            export_static(LocalStorage(tmp_path), [])
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    def test_an_older_export_is_replaced_only_when_asked(self, tmp_path):
        target = LocalStorage(tmp_path)
        export_static(target, [make_item("old")], collections=[make_collection(), make_collection("a b")])
        with pytest.raises(InputError, match="--replace"):
            export_static(target, [make_item("new")])
        export_static(target, [make_item("new")], replace=True)
        assert sorted(json_files(tmp_path)) == [
            "catalog.json",
            "scenes/collection.json",
            "scenes/new/new.json",
        ]

    def test_another_catalogue_is_never_replaced(self, tmp_path):
        (tmp_path / "catalog.json").write_text('{"type": "Catalog", "links": []}')
        (tmp_path / "precious").mkdir()
        with pytest.raises(InputError, match="catalogue already"):
            export_static(LocalStorage(tmp_path), [], replace=True)
        assert (tmp_path / "precious").exists()

    def test_an_export_that_was_cut_off_has_no_root_and_is_made_again(self, tmp_path):
        def breaking_off():
            yield make_item("half")
            raise DataError("the catalogue went away")

        target = LocalStorage(tmp_path)
        with pytest.raises(DataError, match="went away"):
            export_static(
                target,
                {"scenes": [make_item("stale")], "more": breaking_off()},
                collections=[make_collection(), make_collection("more")],
            )
        assert not (tmp_path / "catalog.json").exists()
        export_static(target, [make_item("whole")])
        assert sorted(json_files(tmp_path)) == [
            "catalog.json",
            "scenes/collection.json",
            "scenes/whole/whole.json",
        ]

    def test_a_root_that_names_folders_elsewhere_deletes_nothing_there(self, tmp_path):
        (tmp_path / "beside").mkdir()
        target = LocalStorage(tmp_path / "out")
        export_static(target, [])
        root = tmp_path / "out" / "catalog.json"
        document = json.loads(root.read_text())
        for href in ("./../collection.json", "../beside/collection.json", "././collection.json"):
            document["links"].append({"rel": "child", "href": href})
        root.write_text(json.dumps(document))
        export_static(target, [], replace=True)
        assert (tmp_path / "beside").exists()

    def test_in_object_storage(self, s3_environment, tmp_path):
        store = LocalStorage(tmp_path / "store")
        store.write("scenes/a/preview.tif", b"pixels")
        item = make_item("a")
        item["assets"] = {"preview": {"href": store.href("scenes/a/preview.tif")}}
        target = open_storage(f"{s3_environment}/static")
        assets = AssetFiles(mode=AssetMode.COPY, store=store)
        tree = export_static(target, [item], assets=assets)
        assert tree.root == f"{s3_environment}/static/catalog.json"
        names = [each.path for each in target.list_objects("")]
        assert names == [
            "catalog.json",
            "scenes/a/a.json",
            "scenes/a/assets/preview.tif",
            "scenes/collection.json",
        ]
        assert target.read("scenes/a/assets/preview.tif") == b"pixels"
        export_static(target, [], replace=True)
        assert [each.path for each in target.list_objects("")] == ["catalog.json", "scenes/collection.json"]
        with pytest.raises(InputError, match="no relative path"):
            export_static(
                open_storage(f"{s3_environment}/other"),
                [item],
                assets=AssetFiles(mode=AssetMode.RELATIVE, store=store),
            )


class TestAssetsOfTrees:
    @pytest.fixture
    def store(self, tmp_path):
        store = LocalStorage(tmp_path / "store")
        for name in ("cube.zarr/zarr.json", "cube.zarr/0/zarr.json", "cube.zarr/0/red/c/0/0", "preview.tif"):
            store.write(f"scenes/a/{name}", name.encode())
        store.write("catalogue.sqlite", b"secret")
        store.write("runs/r1/lease.json", b"secret")
        return store

    @pytest.fixture
    def item(self, store, tmp_path):
        (tmp_path / "passwd").write_text("secret")
        item = make_item("a")
        item["assets"] = {
            "data": {"href": store.href("scenes/a/cube.zarr/0"), "title": "Data"},
            "pyramid": {"href": store.href("scenes/a/cube.zarr")},
            "preview": {"href": store.href("scenes/a/preview.tif")},
            "source": {"href": "https://example.org/a.tif"},
            "host": {"href": str(tmp_path / "passwd")},
            "climbing": {"href": f"{store.uri}/scenes/a/../../catalogue.sqlite"},
            "database": {"href": store.href("catalogue.sqlite")},
            "lease": {"href": store.href("runs/r1/lease.json")},
        }
        return item

    def read(self, folder):
        return json.loads((folder / "scenes" / "a" / "a.json").read_text())["assets"]

    def test_copied_files_stand_beside_their_item(self, store, item, tmp_path):
        assets = AssetFiles(mode=AssetMode.COPY, store=store)
        tree = export_static(LocalStorage(tmp_path / "out"), [item], assets=assets)
        written = self.read(tmp_path / "out")
        assert written["data"] == {"href": "./assets/cube.zarr/0", "title": "Data"}
        assert written["pyramid"]["href"] == "./assets/cube.zarr"
        assert tree.copied == 4
        beside = tmp_path / "out" / "scenes" / "a" / "assets"
        names = ["cube.zarr/0/red/c/0/0", "cube.zarr/0/zarr.json", "cube.zarr/zarr.json", "preview.tif"]
        assert (
            sorted(path.relative_to(beside).as_posix() for path in beside.rglob("*") if path.is_file())
            == names
        )
        assert all((beside / name).read_bytes() == name.encode() for name in names)
        assert tree.copied_bytes == sum(map(len, names))

    @pytest.mark.parametrize("mode", list(AssetMode))
    def test_nothing_but_products_is_carried_off(self, store, item, tmp_path, mode):
        export_static(LocalStorage(tmp_path / "out"), [item], assets=AssetFiles(mode=mode, store=store))
        written = self.read(tmp_path / "out")
        for key in ("source", "host", "climbing", "database", "lease"):
            assert written[key] == item["assets"][key]
        assert not [
            path
            for path in (tmp_path / "out").rglob("*")
            if path.is_file() and b"secret" in path.read_bytes()
        ]

    def test_relative_hrefs_lead_to_the_store(self, store, item, tmp_path):
        out = tmp_path / "elsewhere" / "out"
        export_static(LocalStorage(out), [item], assets=AssetFiles(mode=AssetMode.RELATIVE, store=store))
        href = self.read(out)["preview"]["href"]
        assert href.startswith("../")
        assert (out / "scenes" / "a" / href).read_bytes() == b"preview.tif"

    def test_a_file_that_is_gone(self, store, item, tmp_path):
        store.delete("scenes/a/preview.tif")
        with pytest.raises(NotFoundError, match="item 'a': asset 'preview'"):
            export_static(
                LocalStorage(tmp_path / "out"), [item], assets=AssetFiles(mode=AssetMode.COPY, store=store)
            )
        assert not (tmp_path / "out" / "catalog.json").exists()
