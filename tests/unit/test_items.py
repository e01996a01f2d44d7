"""Items of synthetic plans: valid, honest, the same every time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from typing import Any

import pytest

from catalog.items.collections import COLLECTION_IDS, collection_document
from catalog.items.scene import scene_item, to_rfc3339
from catalog.records import (
    Band,
    BandStatistics,
    CubePlan,
    CubeReceipt,
    Grid,
    ReadOptions,
    Scene,
    SceneGroup,
    StoredFile,
)
from infra.digests import sha256_of_json
from infra.errors import NotFoundError
from tests.support.schemas import validate_collection, validate_item

UTM33 = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 400000.0, 0.0, -10.0, 5800000.0),
    shape_yx=(3000, 4000),
    shard_px=2048,
    chunk_px=1024,
)
SINUSOIDAL = (
    'PROJCRS["Sinusoidal",BASEGEOGCRS["Sphere",DATUM["Sphere",ELLIPSOID["Sphere",6371007.181,0]]],'
    'CONVERSION["Sinusoidal",METHOD["Sinusoidal"],PARAMETER["Longitude of natural origin",0,'
    'ANGLEUNIT["degree",0.0174532925199433]],PARAMETER["False easting",0,LENGTHUNIT["metre",1]],'
    'PARAMETER["False northing",0,LENGTHUNIT["metre",1]]],CS[Cartesian,2],AXIS["easting",east],'
    'AXIS["northing",north],LENGTHUNIT["metre",1]]'
)
STATISTICS = BandStatistics(
    minimum=1.0,
    maximum=9000.0,
    mean=1234.5,
    stddev=100.25,
    valid_percent=99.96,
    percentile_2=200.0,
    percentile_98=4000.0,
)
EMPTY = BandStatistics(
    **{f.name: math.nan for f in dataclasses.fields(BandStatistics)} | {"valid_percent": 0.0}
)


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def optical_band(name: str, common_name: str, wavelength: float) -> Band:
    return Band(
        name=name,
        asset=name,
        href=f"/in/{name}.tif",
        dtype="uint16",
        nodata=0,
        scale=1e-4,
        offset=-0.1,
        unit="1",
        common_name=common_name,
        center_wavelength_um=wavelength,
        gsd_m=10.0,
    )


OPTICAL = (
    optical_band("B04", "red", 0.665),
    optical_band("B03", "green", 0.56),
    optical_band("B02", "blue", 0.49),
    Band(name="SCL", asset="SCL", href="/in/SCL.tif", dtype="uint8", nodata=0, gsd_m=20.0, quality=True),
)
RADAR = tuple(
    Band(name=p, asset=p, href=f"/in/{p}", dtype="float32", nodata="nan", unit="dB") for p in ("vv", "vh")
)
AERIAL = tuple(
    Band(name=c, asset="image", href="/in/i.tif", index=i, dtype="uint8", common_name=c)
    for i, c in enumerate(("red", "green", "blue", "nir"), start=1)
)


def scene(index: int, bands: tuple[Band, ...], geometry: dict[str, Any], **properties: Any) -> Scene:
    return Scene(
        collection="sentinel-2-l2a",
        id=f"S2A_{index}",
        datetime=dt.datetime(2020, 3, 18, 9, 11, index, tzinfo=dt.UTC),
        geometry=geometry,
        bands=bands,
        self_href=f"https://example.com/{index}.json",
        title="Sentinel-2 L2A",
        license="CC-BY-4.0",
        properties=properties,
    )


def plan_of(scenes: tuple[Scene, ...], grid: Grid = UTM33, **options: Any) -> CubePlan:
    group = SceneGroup(collection=scenes[0].collection, day=dt.date(2020, 3, 18), scenes=scenes)
    names = tuple(band.name for band in scenes[0].bands)
    return CubePlan(
        id="cube-20200318-0a1b", group=group, grid=grid, bands=names, options=ReadOptions(**options)
    )


def receipt_of(plan: CubePlan, statistics: BandStatistics = STATISTICS) -> CubeReceipt:
    paths = ("cube.zarr/0/x/c/0", "cube.zarr/0/zarr.json", "cube.zarr/1/zarr.json", "cube.zarr/zarr.json")
    files = [StoredFile(path=path, size=100 + len(path), sha256="ab" * 32) for path in paths]
    files += [StoredFile(path=path, size=77, sha256="cd" * 32) for path in ("preview.tif", "thumbnail.png")]
    keys = (*plan.bands, "preview/red", "preview/green", "preview/blue")
    return CubeReceipt(
        id=plan.id,
        plan_digest="0" * 64,
        files=tuple(files),
        statistics=dict.fromkeys(keys, statistics),
        levels=3,
        software={"zarr": "3.1.6", "terraloom": "0.1.0"},
    )


def wide_scenes() -> tuple[Scene, ...]:
    facts = {"platform": "sentinel-2a", "constellation": "sentinel-2", "instruments": ["msi"], "gsd": 10}
    left = scene(
        0, OPTICAL, box(13.0, 51.0, 13.7, 53.0), **facts, **{"eo:cloud_cover": 10, "view:off_nadir": 0}
    )
    right = scene(
        1, OPTICAL, box(13.7, 51.0, 15.0, 53.0), **facts, **{"eo:cloud_cover": 50, "view:off_nadir": 3}
    )
    return left, right


def utm1_grid() -> Grid:
    transform = (100.0, 0.0, 280000.0, 0.0, -100.0, 5580000.0)
    return Grid(crs="EPSG:32601", transform=transform, shape_yx=(300, 300), shard_px=512, chunk_px=256)


def sinusoidal_grid() -> Grid:
    transform = (231.65635826, 0.0, -6000000.0, 0.0, -231.65635826, -1300000.0)
    return Grid(crs=SINUSOIDAL, transform=transform, shape_yx=(147, 255), shard_px=256, chunk_px=256)


def degree_grid() -> Grid:
    transform = (0.0001, 0.0, 13.5, 0.0, -0.0001, 52.4)
    return Grid(crs="EPSG:4326", transform=transform, shape_yx=(100, 100), shard_px=256, chunk_px=256)


def tiny_grid() -> Grid:
    return dataclasses.replace(UTM33, shape_yx=(1, 1))


RADAR_FACTS = {
    "sar:instrument_mode": "IW",
    "sar:frequency_band": "C",
    "sar:polarizations": ["VV", "VH"],
    "sar:product_type": "GRD",
    "sat:orbit_state": "ascending",
    "sat:relative_orbit": 59,
}
EVERYWHERE = box(-180.0, -90.0, 180.0, 90.0)
PLANS = {
    "optical": plan_of(wide_scenes(), mask="clouds"),
    "radar": plan_of((scene(0, RADAR, box(13, 51, 15, 53), **RADAR_FACTS),)),
    "aerial": plan_of((scene(0, AERIAL, box(13, 51, 15, 53)),)),
    "sinusoidal": plan_of((scene(0, OPTICAL, EVERYWHERE),), sinusoidal_grid()),
    "degrees": plan_of((scene(0, OPTICAL, EVERYWHERE),), degree_grid()),
    "antimeridian": plan_of((scene(0, OPTICAL, box(179.0, 49.0, -179.0, 51.0)),), utm1_grid()),
    "tiny": plan_of((scene(0, RADAR[:1], box(13, 51, 15, 53)),), tiny_grid()),
}


@pytest.mark.parametrize("name", PLANS)
def test_item_is_valid_in_core(name: str) -> None:
    plan = PLANS[name]
    validate_item(scene_item(plan, receipt_of(plan), root_href="/data/store"), extensions=False)


@pytest.mark.real
@pytest.mark.parametrize("statistics", [STATISTICS, EMPTY], ids=["measured", "empty"])
@pytest.mark.parametrize("name", PLANS)
def test_item_is_valid_in_every_extension(name: str, statistics: BandStatistics) -> None:
    plan = PLANS[name]
    validate_item(scene_item(plan, receipt_of(plan, statistics), root_href="s3://bucket/store"))


@pytest.mark.real
def test_a_wrong_extension_field_is_noticed() -> None:
    item = build("optical")
    item["properties"]["eo:cloud_cover"] = 101
    with pytest.raises(AssertionError, match="eo"):
        validate_item(item)


@pytest.mark.real
@pytest.mark.parametrize("collection_id", COLLECTION_IDS)
def test_collections_are_valid(collection_id: str) -> None:
    validate_collection(collection_document(collection_id))


def test_unknown_collection_is_named() -> None:
    with pytest.raises(NotFoundError, match="'scene'"):
        collection_document("scene")


def test_collections_are_copies() -> None:
    collection_document("scenes")["item_assets"].clear()
    assert collection_document("scenes")["item_assets"]


def build(name: str, **arguments: Any) -> dict[str, Any]:
    plan = PLANS[name]
    return scene_item(plan, receipt_of(plan), **{"root_href": "/data/store", **arguments})


def test_item_is_the_same_every_time_and_has_no_clock() -> None:
    first, second = (json.dumps(build("optical"), allow_nan=False) for _ in range(2))
    assert first == second
    assert not {"created", "updated"} & build("optical")["properties"].keys()


def test_title_and_description_state_the_facts() -> None:
    properties = build("optical")["properties"]
    assert properties["title"] == "Sentinel-2 L2A · 18 Mar 2020 · 4 bands at 10 m"
    assert properties["description"].startswith(
        "2 scenes of Sentinel-2 L2A from 18 Mar 2020 on a 10 m grid; 4000 × 3000"
    )
    assert "99.9 % of the area" in properties["description"]
    assert "clouds" in properties["description"]


def test_times_of_several_scenes_span_an_interval() -> None:
    properties = build("optical")["properties"]
    assert properties["datetime"] == properties["start_datetime"] == "2020-03-18T09:11:00Z"
    assert properties["end_datetime"] == "2020-03-18T09:11:01Z"
    assert "start_datetime" not in build("radar")["properties"]


def test_cloud_cover_is_the_mean_by_area() -> None:
    # The scenes meet at 13.7° E; the grid runs from about 13.53° to 14.12°.
    item = build("optical")
    west, _, east, _ = item["bbox"]
    share = (13.7 - west) / (east - west)
    assert item["properties"]["eo:cloud_cover"] == pytest.approx(10 * share + 50 * (1 - share), abs=0.3)


def test_only_what_all_scenes_agree_on_is_carried() -> None:
    properties = build("optical")["properties"]
    assert properties["platform"] == "sentinel-2a"
    assert properties["instruments"] == ["msi"]
    assert "view:off_nadir" not in properties
    assert (
        "https://stac-extensions.github.io/view/v1.1.0/schema.json" not in build("optical")["stac_extensions"]
    )


def test_unsound_source_values_are_left_out() -> None:
    odd = {"view:sun_elevation": 400, "sar:frequency_band": "Q", "sat:orbit_state": None, "platform": 7}
    plan = plan_of((scene(0, RADAR, box(13, 51, 15, 53), **odd, **{"eo:cloud_cover": -1}),))
    properties = scene_item(plan, receipt_of(plan), root_href="/s")["properties"]
    assert not (odd.keys() | {"eo:cloud_cover"}) & properties.keys()


def test_assets_point_at_what_opens_and_state_sizes() -> None:
    plan = PLANS["optical"]
    receipt = receipt_of(plan)
    item = scene_item(plan, receipt, root_href="s3://bucket/store/")
    assets = item["assets"]
    assert assets["data"]["href"] == "s3://bucket/store/scenes/cube-20200318-0a1b/cube.zarr/0"
    files = [file for file in receipt.files if file.path.startswith("cube.zarr/0/")]
    manifest = sha256_of_json([[file.path, file.size, file.sha256] for file in files])
    assert assets["data"]["file:size"] == sum(file.size for file in files)
    assert assets["data"]["file:checksum"] == "1220" + manifest
    assert assets["pyramid"]["file:size"] > assets["data"]["file:size"]
    assert assets["preview"]["file:checksum"] == "1220" + "cd" * 32
    assert [key for key, asset in assets.items() if "data" in asset["roles"]] == ["data"]


def test_assets_that_were_not_written_are_not_named() -> None:
    plan = PLANS["optical"]
    receipt = receipt_of(plan)
    bare = dataclasses.replace(receipt, files=receipt.files[:4])
    item = scene_item(plan, bare, root_href="/s")
    assert item["assets"].keys() == {"data", "pyramid", "receipt"}
    assert "preview" not in item["properties"]["renders"]


def test_bands_carry_numbers_and_statistics() -> None:
    red = build("optical")["assets"]["data"]["bands"][0]
    assert red["name"] == "B04"
    assert (red["data_type"], red["nodata"], red["unit"]) == ("uint16", 0, "1")
    assert (red["raster:scale"], red["raster:offset"]) == (1e-4, -0.1)
    assert red["statistics"]["mean"] == 1234.5
    assert build("radar")["assets"]["data"]["bands"][0]["nodata"] == "nan"


def test_statistics_without_a_valid_pixel_state_only_that() -> None:
    plan = PLANS["radar"]
    item = scene_item(plan, receipt_of(plan, EMPTY), root_href="/s")
    assert item["assets"]["data"]["bands"][0]["statistics"] == {"valid_percent": 0}
    json.dumps(item, allow_nan=False)


def test_preview_has_its_own_grid() -> None:
    item = build("optical")  # 4000 px: the first level of at most 1024 px is level 2
    assert item["properties"]["proj:shape"] == [3000, 4000]
    assert item["assets"]["preview"]["proj:shape"] == [750, 1000]
    assert item["assets"]["preview"]["proj:transform"] == [40, 0, 400000, 0, -40, 5800000]


def test_projection_without_a_code_is_spelled_out() -> None:
    properties = build("sinusoidal")["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:wkt2"].startswith("PROJCRS")
    assert properties["proj:projjson"]["type"] == "ProjectedCRS"
    assert isinstance(properties["cube:dimensions"]["x"]["reference_system"], str)
    assert build("optical")["properties"]["cube:dimensions"]["x"]["reference_system"] == 32633


def test_links_lead_to_inputs_store_and_run() -> None:
    links = build("optical", execution_href="https://prefect.example/runs/1")["links"]
    by_rel = {link["rel"]: link for link in links}
    assert by_rel["store"]["href"].endswith("/cube.zarr")
    assert by_rel["processing-execution"]["href"] == "https://prefect.example/runs/1"
    derived = [link for link in links if link["rel"] == "derived_from"]
    assert [link["title"] for link in derived] == ["S2A_0", "S2A_1"]
    assert {link["type"] for link in derived} == {"application/geo+json"}
    assert "processing-execution" not in {link["rel"] for link in build("optical")["links"]}


def test_licence_that_is_no_spdx_id_becomes_other() -> None:
    source = dataclasses.replace(wide_scenes()[0], license="Copernicus Sentinel data terms")
    plan = plan_of((source,))
    properties = scene_item(plan, receipt_of(plan), root_href="/s")["properties"]
    assert properties["license"] == "other"
    assert "Copernicus Sentinel data terms" in properties["description"]
    assert build("optical")["properties"]["license"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2020-01-02T03:04:05Z"),
        (dt.datetime(2020, 1, 2, 3, 4, 5, 120000, tzinfo=dt.UTC), "2020-01-02T03:04:05.120000Z"),
        (dt.datetime(2020, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))), "2020-01-02T01:00:00Z"),
    ],
)
def test_instants_are_spelled_in_utc(instant: dt.datetime, text: str) -> None:
    assert to_rfc3339(instant) == text
