"""STAC items of every spelling become the same Scene."""

import copy
import datetime as dt

import numpy as np
import pytest
import rasterio
from affine import Affine

from catalog.records import SCENE, Scene
from catalog.sources.band_facts import sentinel2_offset
from catalog.sources.presets import PRESETS, Source
from catalog.sources.scenes import geometry_of, instant_of, scene_from_item
from infra.errors import DataError, InputError, NotFoundError
from infra.urls import UrlPolicy

BASE = "https://stac.example.org/items/x.json"
SQUARE = {"type": "Polygon", "coordinates": [[[10, 50], [11, 50], [11, 51], [10, 51], [10, 50]]]}
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
FULL = {"data_type": "uint16", "nodata": 0, "scale": 0.0001, "offset": 0}


def make_item(assets, *, collection="my-images", item_id="x", **properties):
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": SQUARE,
        "bbox": [10, 50, 11, 51],
        "properties": {"datetime": "2023-06-01T10:30:00Z", **properties},
        "links": [],
        "assets": assets,
    }


def asset(name="b", **fields):
    return {"href": f"./{name}.tif", "type": TIFF, "roles": ["data"], **fields}


def to_scene(item, bands=None, *, source=None, base=BASE, collection=None) -> Scene:
    source = source or Source(name="remote", location="https://stac.example.org")
    return scene_from_item(
        item, source=source, bands=bands, policy=source.policy(), base_href=base, collection=collection
    )


def band_of(scene, name):
    return next(band for band in scene.bands if band.name == name)


RED_1_0 = asset(
    **{
        "eo:bands": [{"name": "B04", "common_name": "red", "center_wavelength": 0.665}],
        "raster:bands": [{**FULL, "unit": "1", "spatial_resolution": 10}],
        "file:checksum": "1220aa",
    }
)
RED_1_1 = asset(
    bands=[
        {
            "name": "B04",
            "eo:common_name": "red",
            "eo:center_wavelength": 0.665,
            "data_type": "uint16",
            "nodata": 0,
            "unit": "1",
            "raster:scale": 0.0001,
            "raster:offset": 0,
            "raster:spatial_resolution": 10,
        }
    ],
    **{"file:checksum": "1220aa"},
)
RED_INHERITED = asset(
    bands=[{"name": "B04", "eo:common_name": "red", "eo:center_wavelength": 0.665}],
    data_type="uint16",
    nodata=0,
    unit="1",
    gsd=10,
    **{"raster:scale": 0.0001, "raster:offset": 0, "file:checksum": "1220aa"},
)


@pytest.mark.parametrize("spelling", [RED_1_0, RED_1_1, RED_INHERITED], ids=["1.0", "1.1", "inherited"])
def test_every_spelling_of_a_band_is_one_band(spelling):
    scene = to_scene(make_item({"red": spelling}))
    (band,) = scene.bands
    assert (band.name, band.asset, band.index, band.href) == (
        "red",
        "red",
        1,
        "https://stac.example.org/items/b.tif",
    )
    assert (band.dtype, band.nodata, band.scale, band.offset, band.unit) == ("uint16", 0.0, 0.0001, 0.0, "1")
    assert (band.common_name, band.center_wavelength_um, band.gsd_m) == ("red", 0.665, 10.0)
    assert (band.checksum, band.quality) == ("1220aa", False)
    assert SCENE.validate_json(SCENE.dump_json(scene)) == scene


def test_bands_inherit_from_item_and_collection():
    by_item = make_item(
        {"red": asset()}, data_type="int16", nodata=-1, **{"raster:scale": 0.5, "raster:offset": 2}
    )
    assert [(b.dtype, b.nodata, b.scale, b.offset) for b in to_scene(by_item).bands] == [
        ("int16", -1.0, 0.5, 2.0)
    ]
    bare = make_item({"red": {"href": "b.tif"}})
    collection = {"id": "my-images", "title": "Mine", "license": "CC-BY-4.0", "item_assets": {"red": RED_1_0}}
    scene = to_scene(bare, collection=collection)
    assert (scene.title, scene.license, scene.bands[0].dtype) == ("Mine", "CC-BY-4.0", "uint16")


def test_beta_items_point_into_the_items_bands():
    item = make_item(
        {"SR_B3.TIF": {"href": "g.tif", "type": TIFF, "eo:bands": [1], "raster:bands": [FULL]}},
        **{"eo:bands": [{"name": "SR_B2", "common_name": "blue"}, {"name": "SR_B3", "common_name": "green"}]},
    )
    (band,) = to_scene(item, ["green"]).bands
    assert (band.name, band.asset, band.common_name) == ("green", "SR_B3.TIF", "green")


NAIP = asset(
    "image",
    **{
        "eo:bands": [{"name": n, "common_name": n.lower()} for n in ("Red", "Green", "Blue", "NIR")],
        "raster:bands": [{"data_type": "uint8", "nodata": 0}] * 4,
    },
)
MANY = {
    "image": NAIP,
    "qa_pixel": asset("qa", roles=["cloud"], **{"raster:bands": [{"data_type": "uint16", "nodata": 1}]}),
    "visual": asset(
        "tci", **{"eo:bands": [{"name": "Red", "common_name": "red"}] * 3, "raster:bands": [FULL] * 3}
    ),
    "preview": {"href": "p.png", "type": "image/png", "roles": ["thumbnail"]},
    "overview": asset("o", roles=["overview"], **{"raster:bands": [FULL]}),
    "sidecar": {"href": "m.xml", "type": "application/xml"},
    "plain": {"href": "no-type.TIF", "raster:bands": [FULL]},
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, [("red", 1), ("green", 2), ("blue", 3), ("nir", 4), ("plain", 1)]),
        (["nir", "red"], [("nir", 4), ("red", 1)]),
        (["NIR"], [("NIR", 4)]),
        (["image"], [("red", 1), ("green", 2), ("blue", 3), ("nir", 4)]),
        (["image:3"], [("image_3", 3)]),
        (["red", "red"], [("red", 1)]),
        (["visual:2"], [("visual_2", 2)]),
        (["plain"], [("plain", 1)]),
        (["qa_pixel", "red"], [("qa_pixel", 1), ("red", 1)]),
    ],
)
def test_bands_are_chosen_by_any_name(names, expected):
    scene = to_scene(make_item(MANY), names)
    assert (scene.quality_band, scene.mask_rule) == ("qa_pixel", "landsat-c2-qa-pixel")
    chosen = [(band.name, band.index) for band in scene.bands]
    assert chosen == expected if "qa_pixel" in dict(expected) else chosen == [*expected, ("qa_pixel", 1)]
    quality = band_of(scene, "qa_pixel")
    assert (quality.quality, quality.scale, quality.offset, quality.nodata) == (True, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rad", "has no band 'rad'; did you mean 'red'?"),
        ("B99", "available: red, green, blue, nir, qa_pixel"),
        ("image:5", "has no band 'image:5'"),
        ("image:0", "has no band 'image:0'"),
        ("preview", "has no band 'preview'"),
    ],
)
def test_unknown_bands_name_the_nearest_and_the_available(name, message):
    with pytest.raises(InputError) as refused:
        to_scene(make_item(MANY), [name])
    assert message in str(refused.value)


def test_one_common_name_for_several_bands_is_ambiguous():
    assets = {
        key: asset(key, **{"eo:bands": [{"name": key, "common_name": "rededge"}], "raster:bands": [FULL]})
        for key in ("B05", "B06")
    }
    with pytest.raises(InputError, match="'rededge' may mean any of B05, B06"):
        to_scene(make_item(assets), ["rededge"])
    assert to_scene(make_item(assets), ["B06"]).bands[0].asset == "B06"


def test_the_finest_copy_of_a_band_wins():
    def copy_of(name, metres, suffix="tif"):
        band = {"name": "B02", "common_name": "blue"}
        entry = asset(name, **{"eo:bands": [band], "raster:bands": [{**FULL, "spatial_resolution": metres}]})
        return {**entry, "href": f"{name}.{suffix}", "type": f"image/{'jp2' if suffix == 'jp2' else 'tiff'}"}

    assets = {"b20": copy_of("b20", 20), "b10j": copy_of("b10j", 10, "jp2"), "b10": copy_of("b10", 10)}
    assert to_scene(make_item(assets), ["B02"]).bands[0].asset == "b10"


def test_asset_keys_cannot_become_paths():
    scene = to_scene(make_item({"../../evil": RED_1_0, "a b": RED_1_0}))
    assert [band.name for band in scene.bands] == ["evil", "a_b"]


PC = PRESETS["planetary-computer"]
EARTH = PRESETS["earth-search"]


def sentinel2(offset=None, key="B04", href="b.tif", **properties):
    numbers = {"data_type": "uint16", "nodata": 0, "scale": 0.0001}
    if offset is not None:
        numbers["offset"] = offset
    band = {"href": href, "type": "image/jp2" if href.endswith("jp2") else TIFF, "roles": ["data"]}
    assets = {key: {**band, "eo:bands": [{"name": key, "common_name": "red"}], "raster:bands": [numbers]}}
    assets["SCL"] = {"href": "scl.tif", "type": TIFF, "roles": ["data"]}
    return make_item(assets, collection="sentinel-2-l2a", **properties)


@pytest.mark.parametrize(
    ("stated", "properties", "offset"),
    [
        (None, {"s2:processing_baseline": "03.01"}, 0.0),
        (None, {"s2:processing_baseline": "04.00"}, -0.1),
        (None, {"s2:processing_baseline": "05.11"}, -0.1),
        (None, {"sentinel:processing_baseline": "04.00"}, -0.1),
        (None, {"s2:product_uri": "S2B_MSIL2A_20230601T103629_N0509_R008_T32UQD_20230601T.SAFE"}, -0.1),
        (None, {"s2:product_uri": "S2B_MSIL2A_20200601T103629_N0214_R008_T32UQD_20200601T.SAFE"}, 0.0),
        (None, {}, 0.0),
        (-0.1, {"s2:processing_baseline": "05.09"}, -0.1),
        (0.0, {"s2:processing_baseline": "05.09"}, 0.0),
        # Earth Search: the flag is the truth, whatever raster:bands says (Element84/earth-search#9)
        (-0.1, {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, 0.0),
        (None, {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, 0.0),
        (-0.1, {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}, -0.1),
        (None, {"s2:processing_baseline": "04.00", "sentinel:boa_offset_applied": True}, 0.0),
    ],
)
def test_the_sentinel_2_offset(stated, properties, offset):
    scene = to_scene(sentinel2(stated, **properties), ["red"], source=EARTH)
    red, scl = scene.bands
    assert (red.name, red.offset, red.scale) == ("red", offset, 0.0001)
    assert (scl.name, scl.scale, scl.offset, scl.dtype, scl.quality) == ("SCL", 1.0, 0.0, "uint8", True)
    assert (scene.quality_band, scene.mask_rule) == ("SCL", "sentinel-2-scl")


def test_original_jpeg_2000_files_keep_the_offset():
    item = sentinel2(-0.1, href="b.jp2", **{"earthsearch:boa_offset_applied": True})
    assert to_scene(item, ["red"], source=EARTH).bands[0].offset == -0.1
    assert sentinel2_offset(None, 0.0001, {"s2:processing_baseline": "04.00"}) == -0.1


def test_profiles_fill_what_items_leave_out():
    assets = {
        key: {"href": f"{key}.tif", "type": TIFF, "roles": ["data"]}
        for key in ("B02", "B03", "B04", "B08", "SCL")
    }
    item = make_item(assets, collection="sentinel-2-l2a", **{"s2:processing_baseline": "05.10"})
    scene = to_scene(item, source=PC)
    assert [band.name for band in scene.bands] == ["B04", "B03", "B02", "B08", "SCL"]
    nir = band_of(scene, "B08")
    assert (nir.dtype, nir.nodata, nir.scale, nir.offset) == ("uint16", 0.0, 0.0001, -0.1)
    assert (nir.common_name, nir.gsd_m, scene.signer) == ("nir", 10.0, "planetary-computer")
    assert [b.asset for b in to_scene(item, ["red", "nir08", "scl"][::2], source=PC).bands] == ["B04", "SCL"]


def test_a_profiles_scale_does_not_hold_for_other_numbers():
    float_red = asset(**{"raster:bands": [{"data_type": "float32", "nodata": "nan"}]})
    scene = to_scene(make_item({"red": float_red}, collection="sentinel-2-l2a"), source=EARTH)
    assert (scene.bands[0].scale, scene.bands[0].offset, scene.bands[0].nodata) == (1.0, 0.0, "nan")


def test_landsat_numbers_and_mask():
    keys = ("red", "green", "blue", "nir08", "qa_pixel", "lwir11")
    item = make_item({key: asset(key) for key in keys}, collection="landsat-c2-l2")
    scene = to_scene(item, ["nir", "lwir11"], source=EARTH)
    nir, heat, quality = scene.bands
    assert (nir.asset, nir.scale, nir.offset, nir.nodata) == ("nir08", 2.75e-5, -0.2, 0.0)
    assert (heat.scale, heat.offset, heat.unit) == (0.00341802, 149.0, "K")
    assert (quality.name, quality.quality, scene.mask_rule) == ("qa_pixel", True, "landsat-c2-qa-pixel")


@pytest.mark.parametrize(
    ("nodata", "expected"),
    [(0, 0.0), ("nan", "nan"), (float("nan"), "nan"), ("-inf", "-inf"), (-9999.0, -9999.0)],
)
def test_nodata_spellings(nodata, expected):
    item = make_item({"b": asset(**{"raster:bands": [{"data_type": "float32", "nodata": nodata}]})})
    assert to_scene(item).bands[0].nodata == expected


@pytest.fixture
def image(tmp_path):
    """A GeoTIFF of three bands whose header says what no metadata says."""
    path = tmp_path / "b.tif"
    profile = {"driver": "GTiff", "width": 4, "height": 3, "count": 3, "dtype": "int16", "nodata": -7}
    with rasterio.open(
        path, "w", crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 6e6), **profile
    ) as file:
        file.write(np.ones((3, 3, 4), dtype="int16"))
        file.scales, file.offsets, file.units = (0.1, 0.1, 1), (5, 5, 0), ("K", "K", "")
        for index, name in enumerate(("hot", "cold", "count"), start=1):
            file.set_band_description(index, name)
    return path


def local_scene(image, bands=None, **fields):
    source = Source(name="local", location=str(image.parent))
    item = make_item({"data": {"href": "./b.tif", "type": TIFF, **fields}})
    return to_scene(item, bands, source=source, base=str(image.parent / "item.json"))


def test_headers_tell_what_metadata_do_not(image):
    scene = local_scene(image)
    assert [(b.name, b.index, b.dtype, b.nodata, b.scale, b.offset, b.unit) for b in scene.bands] == [
        ("hot", 1, "int16", -7.0, 0.1, 5.0, "K"),
        ("cold", 2, "int16", -7.0, 0.1, 5.0, "K"),
        ("count", 3, "int16", -7.0, 1.0, 0.0, None),
    ]
    assert {b.href for b in scene.bands} == {str(image)}
    assert [b.index for b in local_scene(image, ["cold"]).bands] == [2]
    assert [b.index for b in local_scene(image, ["data:3"]).bands] == [3]
    with pytest.raises(InputError, match=r"available: hot, cold, count"):
        local_scene(image, ["warm"])


def test_metadata_come_before_headers(image):
    band = local_scene(image, **{"raster:bands": [{"data_type": "int16", "scale": 0.5}]}).bands[0]
    assert (band.nodata, band.scale, band.offset) == (-7.0, 0.5, 0.0)


def test_a_rewritten_file_is_read_again(image):
    assert local_scene(image, ["data:1"]).bands[0].dtype == "int16"
    profile = {
        "driver": "GTiff",
        "width": 4,
        "height": 3,
        "count": 1,
        "dtype": "float64",
        "crs": "EPSG:32633",
    }
    with rasterio.open(image, "w", transform=Affine(10, 0, 5e5, 0, -10, 6e6), **profile) as file:
        file.write(np.ones((1, 3, 4)))
    assert local_scene(image, ["data:1"]).bands[0].dtype == "float64"


def test_absent_broken_and_disguised_files(image, tmp_path):
    (tmp_path / "broken.tif").write_bytes(image.read_bytes()[:60])
    (tmp_path / "vrt.tif").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="3"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        "<SourceFilename>/etc/secret.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    source = Source(name="local", location=str(tmp_path))
    for name, error in (("none.tif", NotFoundError), ("broken.tif", DataError), ("vrt.tif", DataError)):
        item = make_item({"data": {"href": name, "type": TIFF}})
        with pytest.raises(error, match=name):
            to_scene(item, source=source, base=str(tmp_path / "item.json"))


def test_complex_numbers_are_refused(image):
    with pytest.raises(DataError, match="complex64 numbers"):
        local_scene(image, **{"raster:bands": [{"data_type": "cfloat32", "nodata": 0}]})


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"datetime": "2020-06-01T10:30:00Z"}, "2020-06-01T10:30:00+00:00"),
        ({"datetime": "2020-06-01T12:30:00.123456789+02:00"}, "2020-06-01T10:30:00.123456+00:00"),
        ({"datetime": "2020-06-01T10:30:00"}, "2020-06-01T10:30:00+00:00"),
        ({"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-12-31T00:00:00Z"},
         "2020-01-01T00:00:00+00:00"),
    ],
)  # fmt: skip
def test_times(properties, expected):
    instant = instant_of({"id": "x", "properties": properties})
    assert instant.isoformat() == expected
    assert instant.tzinfo is dt.UTC


@pytest.mark.parametrize("properties", [{}, {"datetime": None}, {"datetime": "yesterday"}])
def test_items_without_time_are_no_scenes(properties):
    with pytest.raises(DataError, match="item 'x'"):
        instant_of({"id": "x", "properties": properties})


@pytest.mark.parametrize(
    ("bbox", "kind"),
    [
        ([10, 50, 11, 51], "Polygon"),
        ([10, 50, 0, 11, 51, 9], "Polygon"),
        ([179, -5, -179, 5], "MultiPolygon"),
    ],
)
def test_a_bbox_stands_for_a_missing_geometry(bbox, kind):
    geometry = geometry_of({"id": "x", "geometry": None, "bbox": bbox})
    assert geometry["type"] == kind
    with pytest.raises(DataError, match="it is nowhere"):
        geometry_of({"id": "x", "geometry": None})


def test_what_is_carried_on():
    properties = {
        "platform": "sentinel-2a",
        "instruments": ["msi"],
        "constellation": "sentinel-2",
        "gsd": 10,
        "eo:cloud_cover": 3.2,
        "view:sun_azimuth": 160.0,
        "sat:orbit_state": "descending",
        "grid:code": "MGRS-33UUP",
        "proj:epsg": 32633,
        "s2:processing_baseline": "05.09",
        "s2:datatake_id": "long",
        "created": "2024-01-01T00:00:00Z",
        "updated": "2024-01-02T00:00:00Z",
        "mission": None,
    }
    item = make_item({"red": RED_1_0}, **properties)
    item["links"] = [{"rel": "self", "href": "https://stac.example.org/items/x"}]
    scene = to_scene(item)
    assert scene.properties["proj:code"] == "EPSG:32633"
    assert set(properties) - set(scene.properties) == {
        "proj:epsg",
        "s2:datatake_id",
        "created",
        "updated",
        "mission",
    }
    assert (scene.version, scene.self_href) == ("05.09", "https://stac.example.org/items/x")
    assert to_scene(make_item({"red": RED_1_0}, updated="2024")).version == "2024"


def test_policy_and_ids_hold_for_items():
    with pytest.raises(InputError, match="loopback"):
        to_scene(make_item({"red": {**RED_1_0, "href": "https://127.0.0.1/b.tif"}}))
    with pytest.raises(InputError, match="item id"):
        to_scene(make_item({"red": RED_1_0}, item_id="../x"))
    with pytest.raises(InputError, match="collection id"):
        to_scene(make_item({"red": RED_1_0}, collection="../x"))
    with pytest.raises(DataError, match="no raster asset"):
        to_scene(make_item({"preview": MANY["preview"]}))
    # An asset that is not read may point anywhere.
    unread = {"red": RED_1_0, "extra": {**RED_1_0, "href": "/etc/passwd.tif"}}
    assert [b.name for b in to_scene(make_item(unread), ["red"]).bands] == ["red"]


def test_signed_addresses_are_kept_unsigned():
    item = make_item({"red": {**RED_1_0, "href": "https://a.blob.core.windows.net/c/b.tif?sv=1&sig=2"}})
    source = Source(name="remote", location="https://stac.example.org", signer="planetary-computer")
    assert to_scene(item, source=source).bands[0].href == "https://a.blob.core.windows.net/c/b.tif"
    # Without a signer of ours the catalogue's own signature is all there is.
    assert "sig=2" in to_scene(item).bands[0].href


def test_reading_an_item_does_not_change_it():
    item = make_item(MANY)
    before = copy.deepcopy(item)
    policy = UrlPolicy.for_catalogue("https://stac.example.org")
    source = Source(name="remote", location=policy.location)
    first = scene_from_item(item, source=source, bands=None, policy=policy, base_href=BASE)
    again = scene_from_item(item, source=source, bands=None, policy=policy, base_href=BASE)
    assert item == before
    assert first.digest == again.digest
