"""Pictures of cubes: what is shown, where it is transparent, and files that GIS draw as they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rio_cogeo import cog_validate

from catalog.grid import level_grid
from catalog.pictures.cogs import PREVIEW_CHANNELS, write_preview_cog
from catalog.pictures.previews import (
    choose_preview_level,
    choose_rgb,
    render_rgba,
    render_thumbnail,
)
from catalog.records import Band, Grid
from infra.errors import InputError


def bands_of(*names: str, **fields: Any) -> list[Band]:
    facts = {"dtype": "uint16", **fields}
    return [Band(name=n, asset=n, href=f"/{n}", **facts) for n in names]


def common(**names: str) -> list[Band]:
    return [Band(name=n, asset=n, href="/x", dtype="uint16", common_name=c) for n, c in names.items()]


def quality(name: str, **fields: Any) -> Band:
    return Band(
        **{
            "name": name,
            "asset": name,
            "href": "/q",
            "dtype": "uint8",
            "nodata": 0,
            "quality": True,
            **fields,
        }
    )


def in_one_file(*names: str) -> list[Band]:
    return [
        Band(name=n, asset="image", href="/i", index=i, dtype="uint8") for i, n in enumerate(names, start=1)
    ]


@pytest.mark.parametrize(
    ("bands", "kind", "names"),
    [
        (common(a="blue", b="red", c="green", d="nir"), "true_colour", ("b", "c", "a")),
        (bands_of("B02", "B03", "B04", "B08"), "true_colour", ("B04", "B03", "B02")),
        (bands_of("SR_B2", "SR_B3", "SR_B4"), "true_colour", ("SR_B4", "SR_B3", "SR_B2")),
        (in_one_file("b1", "b2", "b3", "b4"), "true_colour", ("b1", "b2", "b3")),
        (
            in_one_file("visual_r", "visual_g", "visual_b"),
            "true_colour",
            ("visual_r", "visual_g", "visual_b"),
        ),
        (in_one_file("red", "green", "nir"), "false_colour", ("nir", "red", "green")),
        (common(a="nir08", b="red", c="green"), "false_colour", ("a", "b", "c")),
        (common(a="swir16", b="nir", c="red"), "false_colour", ("a", "b", "c")),
        (bands_of("vh", "vv", dtype="float32"), "radar", ("vv", "vh")),
        (bands_of("gamma0_VV", "gamma0_VH", dtype="float32"), "radar", ("gamma0_VV", "gamma0_VH")),
        (bands_of("HH", dtype="float32"), "radar", ("HH",)),
        (bands_of("B01", "B09"), "grey", ("B01",)),
        ([quality("SCL"), *bands_of("B01")], "grey", ("B01",)),
        ([quality("SCL")], "classes", ("SCL",)),
    ],
)
def test_choice(bands: list[Band], kind: str, names: tuple[str, ...]) -> None:
    choice = choose_rgb(bands)
    assert (choice.kind, choice.names) == (kind, names)
    assert choice.title


def test_nothing_to_choose_from() -> None:
    with pytest.raises(InputError, match="no band"):
        choose_rgb([])


RGB = common(red="red", green="green", blue="blue")


def scene(rows: int = 60, cols: int = 80) -> dict[str, NDArray[np.uint16]]:
    """Red ground, blue in the upper left quarter, no data along the right edge (stored 0)."""
    rng = np.random.default_rng(7)
    arrays = {name: rng.integers(900, 1100, (rows, cols), np.uint16) for name in ("red", "green", "blue")}
    arrays["red"] += 2000
    arrays["red"][: rows // 2, : cols // 2] -= 2000
    arrays["blue"][: rows // 2, : cols // 2] += 2000
    for array in arrays.values():
        array[:, -10:] = 0
    return arrays


def open_png(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def test_thumbnail_is_upright_coloured_and_transparent_where_empty() -> None:
    picture = open_png(render_thumbnail(scene(), RGB))
    rows, cols, channels = picture.shape
    assert (rows, cols, channels) == (240, 320, 4)  # 80 px enlarged four times
    blue, red = picture[rows // 4, cols // 4], picture[3 * rows // 4, cols // 4]
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60
    assert (picture[:, -30:, 3] == 0).all()
    assert (picture[:, : cols * 6 // 8, 3] == 255).all()


def test_thumbnail_bytes_are_the_same_every_time() -> None:
    assert render_thumbnail(scene(), RGB) == render_thumbnail(scene(), RGB)


@pytest.mark.parametrize(
    ("shape", "max_px", "expected"),
    [
        ((1000, 500), 512, (512, 256)),
        ((100, 100), 512, (400, 400)),
        ((400, 200), 512, (400, 200)),
        ((1, 1), 512, (4, 4)),
        ((300, 300), 512, (300, 300)),
        ((100, 40), 64, (64, 26)),
    ],
)
def test_thumbnail_size(shape: tuple[int, int], max_px: int, expected: tuple[int, int]) -> None:
    arrays = {name: np.full(shape, 500, np.uint16) for name in ("red", "green", "blue")}
    assert open_png(render_thumbnail(arrays, RGB, max_px=max_px)).shape[:2] == expected


def test_no_valid_pixel_gives_a_transparent_picture() -> None:
    arrays = {name: np.zeros((20, 20), np.uint16) for name in ("red", "green", "blue")}
    assert (render_rgba(arrays, RGB) == 0).all()


def test_black_pixels_of_an_8_bit_picture_stay_opaque() -> None:
    bands = in_one_file("b1", "b2", "b3")
    arrays = {name: np.full((8, 8), 120, np.uint8) for name in ("b1", "b2", "b3")}
    arrays["b3"][0, 0] = 0
    for array in arrays.values():
        array[7, 7] = 0
    alpha = render_rgba(arrays, bands)[3]
    assert alpha[0, 0] == 255
    assert alpha[7, 7] == 0


def test_scene_classes_keep_their_colours_and_edges() -> None:
    codes = np.array([[0, 4], [6, 9]], np.uint8).repeat(10, 0).repeat(10, 1)
    picture = open_png(render_thumbnail({"SCL": codes}, [quality("SCL")]))
    colours = {tuple(int(v) for v in colour) for colour in picture.reshape(-1, 4)}
    assert colours == {(0, 0, 0, 0), (0, 160, 0, 255), (0, 0, 255, 255), (255, 255, 255, 255)}


def test_landsat_quality_bits_are_painted() -> None:
    bits = np.array([[1, 1 << 6], [(1 << 6) | (1 << 7), 1 << 3]], np.uint16)
    rgba = render_rgba({"qa_pixel": bits}, [quality("qa_pixel", dtype="uint16", nodata=1)])
    assert rgba[3].tolist() == [[0, 255], [255, 255]]
    assert rgba[:3, 1, 0].tolist() == [0, 0, 255]
    assert rgba[:3, 1, 1].tolist() == [255, 255, 255]


def test_missing_band_and_unlike_shapes_are_refused() -> None:
    arrays = scene()
    with pytest.raises(InputError, match="needs blue"):
        render_rgba({"red": arrays["red"], "green": arrays["green"]}, RGB)
    with pytest.raises(InputError, match="shapes"):
        render_rgba({**arrays, "blue": arrays["blue"][:5]}, RGB)


def test_radar_in_power_looks_like_radar_in_decibels() -> None:
    rng = np.random.default_rng(3)
    decibel = {
        p: rng.normal(level, 3, (64, 64)).astype(np.float32) for p, level in (("vv", -10), ("vh", -17))
    }
    power = {p: (10 ** (values / 10)).astype(np.float32) for p, values in decibel.items()}
    bands = bands_of("vv", "vh", dtype="float32")
    difference = render_rgba(decibel, bands).astype(int) - render_rgba(power, bands).astype(int)
    assert np.abs(difference).max() <= 1


UTM = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500000.0, 0.0, -10.0, 5800000.0),
    shape_yx=(600, 800),
    shard_px=1024,
    chunk_px=256,
)
SINUSOIDAL = str(pyproj.CRS("+proj=sinu +R=6371007.181 +units=m +no_defs").to_wkt("WKT2_2019"))


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", SINUSOIDAL], ids=["utm", "lonlat", "sinusoidal"])
def test_cog_is_valid_and_lies_where_its_grid_does(tmp_path: Path, crs: str, smooth: bool) -> None:
    scale = 1e-5 if crs == "EPSG:4326" else 10.0
    transform = (scale, 0.0, 12.5, 0.0, -scale, 48.25)
    grid = Grid(crs=crs, transform=transform, shape_yx=(600, 800), shard_px=1024, chunk_px=256)
    rgba = render_rgba(scene(600, 800), RGB)
    path = tmp_path / "preview.tif"
    statistics = write_preview_cog(rgba, grid, path, smooth=smooth)
    valid, errors, warnings = cog_validate(str(path), strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["preview.tif"]  # no sidecar
    with rasterio.open(path) as dataset:
        assert dataset.crs == CRS.from_user_input(crs)
        assert dataset.transform[:6] == pytest.approx(transform)
        assert dataset.bounds == pytest.approx((12.5, 48.25 - 600 * scale, 12.5 + 800 * scale, 48.25))
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert dataset.mask_flag_enums[0] == [MaskFlags.per_dataset]
        np.testing.assert_array_equal(dataset.dataset_mask(), rgba[3])
        tags = dataset.tags(1)
        shown = dataset.read()[:, rgba[3] > 0].astype(int)
    error = np.abs(shown - rgba[:3, rgba[3] > 0].astype(int)).mean()
    assert error < 8 if smooth else error == 0
    red = statistics[PREVIEW_CHANNELS[0]]
    assert float(tags["STATISTICS_MAXIMUM"]) == red.maximum == rgba[0][rgba[3] > 0].max()
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(red.mean)
    assert red.valid_percent == pytest.approx(100 * 790 / 800)


def test_cog_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    rgba = render_rgba(scene(600, 800), RGB)
    for name in ("a.tif", "b.tif"):
        write_preview_cog(rgba, UTM, tmp_path / name)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_cog_of_an_empty_cube_has_no_statistics(tmp_path: Path) -> None:
    statistics = write_preview_cog(np.zeros((4, 600, 800), np.uint8), UTM, tmp_path / "p.tif")
    assert all(np.isnan(entry.mean) and entry.valid_percent == 0 for entry in statistics.values())
    with rasterio.open(tmp_path / "p.tif") as dataset:
        assert not dataset.tags(1)
        assert not dataset.dataset_mask().any()


def test_picture_and_grid_must_agree(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\(4, 600, 800\)"):
        write_preview_cog(np.zeros((4, 800, 600), np.uint8), UTM, tmp_path / "p.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("longest", "levels", "expected"), [(1024, 3, 0), (1025, 3, 1), (9000, 2, 1), (10, 1, 0)]
)
def test_preview_level(longest: int, levels: int, expected: int) -> None:
    grid = Grid(crs="EPSG:32633", transform=UTM.transform, shape_yx=(7, longest), shard_px=512, chunk_px=256)
    assert choose_preview_level(grid, levels) == expected


def test_level_grid_keeps_the_corner() -> None:
    grid = level_grid(UTM, 3)
    assert grid.shape_yx == (75, 100)
    assert grid.transform == (80.0, 0.0, 500000.0, 0.0, -80.0, 5800000.0)


@pytest.mark.parametrize(
    ("shape", "overviews"),
    [((468, 471), []), ((787, 845), [2]), ((1024, 1024), [2, 4]), ((300, 1024), []), ((100, 90), [])],
)
def test_no_overview_is_smaller_than_a_tile(tmp_path, shape, overviews):
    """Web maps (OpenLayers) draw stripes from an overview that does not fill its tile."""
    grid = Grid(
        crs="EPSG:32631", transform=(10.0, 0, 4e5, 0, -10.0, 6e6), shape_yx=shape, shard_px=2048, chunk_px=512
    )
    rgba = np.full((4, *shape), 200, np.uint8)
    write_preview_cog(rgba, grid, tmp_path / "preview.tif")
    with rasterio.open(tmp_path / "preview.tif") as preview:
        assert preview.overviews(1) == overviews
        assert preview.profile["blockxsize"] == 256
