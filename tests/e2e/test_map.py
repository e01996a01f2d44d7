"""Map the sample world and look at what came out, the way its users do."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac_client
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from PIL import Image

from tests.e2e.conftest import Run
from tests.support.processes import CommandLine
from tests.support.schemas import validate_collection, validate_item, validate_zarr_conventions
from tests.support.snapshots import pixel_checksums, read_items, receipts, store_tree
from tests.support.worlds import serving_api


@pytest.fixture(scope="module")
def api(undisturbed: Run, bare_terraloom: CommandLine) -> Iterator[pystac_client.Client]:
    """The run's catalogue, served by ``terraloom serve``."""
    with bare_terraloom.serving(undisturbed.store) as url:
        yield pystac_client.Client.open(url)


@pytest.fixture(scope="module")
def items(undisturbed: Run) -> list[pystac.Item]:
    return [pystac.Item.from_dict(item) for item in read_items(undisturbed.store).values()]


def test_summary_counts_add_up(undisturbed):
    summary = undisturbed.summary
    assert (summary["planned"], summary["written"], summary["catalogued"]) == (6, 6, 6)
    assert (summary["reused"], summary["quarantined"]) == (0, 0)
    assert summary["tiles_read"] == 6
    assert summary["item_ids"] == sorted(read_items(undisturbed.store))
    assert summary["bytes_written"] == sum(
        file["size"] for receipt in receipts(undisturbed.store).values() for file in receipt["files"]
    )
    assert undisturbed.ended.lines == []


def test_every_item_is_found_by_any_question(undisturbed, api):
    ids = undisturbed.summary["item_ids"]
    west, south, east, north = undisturbed.world.bbox
    assert sorted(item.id for item in api.search(collections=["scenes"]).items()) == ids
    assert sorted(item.id for item in api.search(limit=2).items()) == ids, "page by page"
    assert [item.id for item in api.search(ids=[ids[0]]).items()] == [ids[0]]
    assert sorted(item.id for item in api.search(bbox=(west, south, east, north)).items()) == ids
    assert not list(api.search(bbox=(west + 90, south, east + 90, north)).items())
    june = {item.id for item in api.search(datetime="2025-06-01/2025-06-30").items()}
    assert june == {identifier for identifier in ids if "-202506" in identifier}


def test_collection_and_items_are_valid(undisturbed, api):
    validate_collection(api.get_collection("scenes").to_dict())
    for item in read_items(undisturbed.store).values():
        validate_item(item)


def test_stores_keep_the_conventions_they_name(undisturbed):
    roots = sorted(undisturbed.store.glob("scenes/*/cube.zarr/zarr.json"))
    assert len(roots) == 6
    for root in roots:
        assert len(validate_zarr_conventions(json.loads(root.read_text()))) >= 2
        validate_zarr_conventions(json.loads((root.parent / "0" / "zarr.json").read_text()))


def test_asset_hrefs_open_as_they_are(items):
    for item in items:
        with rasterio.open(item.assets["preview"].href) as preview:
            assert preview.count in {3, 4}
            assert preview.dtypes[0] == "uint8"
            assert preview.overviews(1) or max(preview.shape) <= 512
            assert preview.crs.to_epsg() == 32631
        with xr.open_zarr(item.assets["data"].href) as cube:
            assert cube.sizes["x"] > 200
            assert cube.sizes["y"] > 200
            assert _bands(cube) == {band["name"] for band in item.assets["data"].extra_fields["bands"]}
        with xr.open_datatree(item.assets["pyramid"].href, engine="zarr") as tree:
            assert _bands(tree["0"].to_dataset()) == _bands(cube)


def test_rasterio_xarray_and_rioxarray_agree(undisturbed, quick_bare, items, tmp_path):
    item = next(item for item in items if "optical" in item.id)
    ended = quick_bare.run("export", item.id, "--store", undisturbed.store, "--cog", tmp_path / "cogs")
    assert ended.code == 0, ended.err
    written = [Path(line) for line in ended.out.splitlines()]
    cube = xr.open_zarr(undisturbed.store / f"scenes/{item.id}/cube.zarr/0", mask_and_scale=False)
    assert {path.stem.removeprefix(f"{item.id}_") for path in written} == _bands(cube)
    for path in written:
        band = cube[path.stem.removeprefix(f"{item.id}_")].squeeze()
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), band.values)
            assert file.crs == band.rio.crs
            assert file.bounds == pytest.approx(band.rio.bounds())
            assert tuple(file.transform) == pytest.approx(tuple(band.rio.transform()))
    physical = xr.open_zarr(undisturbed.store / f"scenes/{item.id}/cube.zarr/0", mask_and_scale=True)
    assert -0.1 <= float(physical["red"].min()) < float(physical["red"].max()) <= 1.6
    expected = item.properties["proj:bbox"]
    assert list(cube.rio.bounds()) == pytest.approx(expected)


def test_thumbnails_are_pictures(items):
    for item in items:
        data = Path(item.assets["thumbnail"].href).read_bytes()
        picture = Image.open(io.BytesIO(data))
        assert picture.format == "PNG"
        assert 128 <= max(picture.size) <= 1024
        assert len(data) < 1_500_000
        grey = np.asarray(picture.convert("L"))
        assert grey.std() > 8, f"{item.id} has a picture of nothing"


def test_checksums_and_sizes_are_true(undisturbed, items):
    checked = 0
    for item in items:
        for asset in item.assets.values():
            stated = asset.extra_fields.get("file:checksum")
            if stated is None or Path(asset.href).is_dir():  # a Zarr asset states the digest of a listing
                continue
            data = Path(asset.href).read_bytes()
            assert stated == "1220" + hashlib.sha256(data).hexdigest()
            assert asset.extra_fields["file:size"] == len(data)
            checked += 1
    assert checked == 2 * len(items)
    for identifier, receipt in receipts(undisturbed.store).items():
        for file in receipt["files"]:
            data = (undisturbed.store / "scenes" / identifier / file["path"]).read_bytes()
            assert (file["size"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_lineage_leads_to_the_inputs(items):
    for item in items:
        inputs = [link.get_absolute_href() for link in item.links if link.rel == "derived_from"]
        assert inputs
        assert all(Path(href).is_file() for href in inputs)


def test_the_second_run_reads_nothing_and_changes_nothing(undisturbed, quick_terraloom):
    before, tree = read_items(undisturbed.store), store_tree(undisturbed.store)
    told = quick_terraloom.run(*undisturbed.world.mapping(undisturbed.store), "--json").told
    assert (told["written"], told["reused"], told["tiles_read"], told["catalogued"]) == (0, 6, 0, 6)
    assert read_items(undisturbed.store) == before, "created and updated included"
    assert store_tree(undisturbed.store) == tree


def test_looking_writes_nothing(undisturbed, quick_bare, store):
    dry = quick_bare.run(*undisturbed.world.mapping(store), "--dry-run", "--json").told
    assert (dry["planned"], dry["written"], dry["reused"]) == (6, 0, 0)
    assert sorted(row["cube"] for row in dry["plan"]) == undisturbed.summary["item_ids"]
    assert not store.exists()
    plan = quick_bare.run("plan", *undisturbed.world.words(undisturbed.store), "--json").told
    assert (plan["planned"], plan["reused"]) == (6, 6)


def test_items_are_printed_and_searched(undisturbed, quick_bare):
    ended = quick_bare.run(
        "items", "--store", undisturbed.store, "--collection", "scenes", "--search", "radar"
    )
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert sorted(item["id"] for item in found) == [
        identifier for identifier in undisturbed.summary["item_ids"] if "radar" in identifier
    ]


def test_gc_leaves_what_stands(undisturbed, quick_bare):
    tree = store_tree(undisturbed.store)
    ended = quick_bare.run("gc", "--store", undisturbed.store)
    assert ended.code == 0
    assert "removed 0 products" in ended.out
    assert store_tree(undisturbed.store) == tree


def test_doctor_finds_a_store_that_works(terraloom, store):
    ended = terraloom.run("doctor", "--store", store, "--json")
    findings = [json.loads(line) for line in ended.out.splitlines()]
    states = {finding["check"]: finding["state"] for finding in findings}
    assert ended.code == 0, findings
    assert states["store"] == states["server"] == states["gdal"] == "ok"
    assert {finding["state"] for finding in findings} <= {"ok", "note"}


def test_plain_geotiffs_become_a_source(undisturbed, quick_bare, quick_terraloom, tmp_path, store):
    photos = tmp_path / "photos"
    photos.mkdir()
    red = next(undisturbed.world.folder.glob("sample-optical/*/red.tif"))
    shutil.copy(red, photos / "field_20250618.tif")
    ended = quick_bare.run("stac", photos, "--collection", "photos", "--out", tmp_path / "stac")
    assert ended.code == 0, ended.err
    request = undisturbed.world.at(tmp_path / "stac").only("photos")
    told = quick_terraloom.run(*request.mapping(store, "--datetime", "2000-01-01/2100-01-01"), "--json").told
    assert told["written"] == told["catalogued"] == 1


def test_dask_report_is_kept_and_needs_no_network(undisturbed):
    run = undisturbed.store / "runs" / undisturbed.summary["run"]
    tags = _AddressCollector()
    tags.feed((run / "dask-report.html").read_text())
    assert tags.scripts >= 2
    assert not [address for address in tags.addresses if "//" in address]
    assert json.loads((run / "summary.json").read_text()) == undisturbed.summary


@pytest.mark.parametrize("form", ["folder", "file url"])
def test_other_spellings_of_the_source_are_the_same_request(undisturbed, quick_bare, store, form):
    folder = undisturbed.world.folder
    request = undisturbed.world.at(folder if form == "folder" else folder.as_uri())
    plan = quick_bare.run("plan", *request.words(store), "--json").told
    assert sorted(row["cube"] for row in plan["plan"]) == undisturbed.summary["item_ids"]


def test_an_api_with_range_reads_gives_the_same_products(undisturbed, quick_terraloom, tmp_path, store):
    with serving_api(undisturbed.world, tmp_path) as request:
        told = quick_terraloom.run(*request.mapping(store), "--json").told
    assert told["item_ids"] == undisturbed.summary["item_ids"]
    assert receipts(store) == receipts(undisturbed.store)
    assert store_tree(store) == store_tree(undisturbed.store)


def test_stackstac_reads_the_same_pixels(undisturbed, quick_terraloom, store):
    request = undisturbed.world
    told = quick_terraloom.run(*request.mapping(store, "--loader", "stackstac"), "--json").told
    assert not set(told["item_ids"]) & set(undisturbed.summary["item_ids"]), "the loader is part of identity"
    assert _nameless(pixel_checksums(store)) == _nameless(pixel_checksums(undisturbed.store))


class _AddressCollector(HTMLParser):
    """Collect what the tags of a page would load; text inside scripts is no tag."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]


def _bands(cube: xr.Dataset) -> set[str]:
    return {str(name) for name, array in cube.data_vars.items() if array.ndim >= 2}


def _nameless(checksums: dict[str, str]) -> dict[str, Any]:
    # <prefix>-<day>-<hash>/<path>: the hash names the loader, prefix and day do not
    return {re.sub(r"-[0-9a-f]{12}/", "/", path): value for path, value in checksums.items()}
