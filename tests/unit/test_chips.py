"""Chips: where they are cut, what is read of cubes, folders and files, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import pickle

import numpy as np
import pytest
from affine import Affine

from catalog.chips.cubes import plan_chips
from catalog.chips.files import write_chips
from catalog.chips.patch_folders import find_patches
from catalog.chips.radar_units import check_unit, read_unit, to_decibels
from catalog.chips.rasters import cut_rasters, find_bigearthnet, find_pictures, find_sen1floods11
from catalog.chips.records import Chip, describe_chip, merge_chips
from catalog.chips.statistics import measure_chips
from catalog.chips.windows import ChipWindow, choose_windows, plan_windows
from catalog.registrations.corrections import Correction
from infra.errors import DataError, InputError, NotFoundError
from tests.support.chips import (
    ArrayChips,
    backscatter,
    colour,
    make_cube,
    write_cubes,
    write_patches,
    write_tif,
)


@pytest.mark.parametrize("size", [1024, 700, 512, 1])
def test_windows_cover_everything_and_snap_to_the_border(size):
    shape = (1024, 2500) if size > 1 else (3, 2)
    windows = plan_windows(shape, size)
    seen = np.zeros(shape, int)
    for window in windows:
        assert seen[window.slices].shape == (size, size)
        seen[window.slices] += 1
    assert seen.min() == 1
    assert len(windows) == len(set(windows)) == -(-shape[0] // size) * -(-shape[1] // size)
    assert max(window.col for window in windows) == shape[1] - size


@pytest.mark.parametrize("size", [0, 1025])
def test_a_chip_larger_than_the_store_is_refused(size):
    with pytest.raises(InputError, match=r"cannot be cut from 1024 × 2500.*1 to 1024"):
        plan_windows((1024, 2500), size)


def test_more_chips_than_anyone_has_are_refused():
    with pytest.raises(InputError, match="more than 4,000,000 chips of 1 px"):
        plan_windows((3000, 3000), 1)


def test_windows_without_data_are_left_out_and_counted():
    windows = plan_windows((4, 4), 2)
    shares = [(1.0, 0.7), (1.0, 0.69), (0.0, 1.0), (0.3, 0.0)]
    choice = choose_windows((window, *share) for window, share in zip(windows, shares, strict=True))
    assert (choice.windows, choice.blank, choice.sparse) == (windows[:1], 2, 1)


def test_radar_of_the_wrong_unit_is_detected():
    rng = np.random.default_rng(0)
    power = rng.gamma(3, 0.03, (64, 64)).astype(np.float32)
    power[:8] = np.nan
    decibels = to_decibels(power, "linear")
    check_unit(power, "linear", "x")
    check_unit(decibels, "dB", "x")
    check_unit(np.full((4, 4), np.nan, np.float32), "dB", "x")
    np.testing.assert_allclose(to_decibels(np.sqrt(power), "amplitude"), decibels, rtol=1e-4)
    with pytest.raises(DataError, match="x is declared as decibels, but its values go from"):
        check_unit(power, "dB", "x")
    with pytest.raises(DataError, match="declare it dB"):
        check_unit(decibels, "linear", "x")
    with pytest.raises(DataError, match="declare it linear or amplitude"):
        check_unit(rng.integers(-200, 4000, (64, 64)).astype(np.float32), "dB", "x")
    assert [read_unit(name) for name in ("DB", None, "1", "amplitude")] == [
        "dB",
        "linear",
        "linear",
        "amplitude",
    ]
    with pytest.raises(InputError, match="metres"):
        read_unit("metres")


@pytest.fixture
def cubes(tmp_path):
    return write_cubes(tmp_path)


def test_chips_come_straight_from_cubes(cubes, tmp_path):
    optical, radar, colours, power = cubes
    reader, choice = plan_chips(str(tmp_path), optical, radar, size_px=32)
    # Both cover 120 rows and 90 columns: 4 × 3 places, the last ones moved back to the border.
    assert (choice.blank, choice.sparse) == (0, 1)
    assert len(reader) == len(choice.windows) == 11
    assert choice.windows[-1] == ChipWindow(88, 58, 32)
    chip = reader.read(10)
    np.testing.assert_allclose(chip.rgb[1], colours["green"][88:120, 68:100] * 1e-4, rtol=1e-6)
    np.testing.assert_allclose(chip.sar[0], 10 * np.log10(power[108:140, 58:90]), rtol=1e-4)
    assert chip.valid.all()
    assert reader.sar_unit == "dB"
    sent = pickle.loads(pickle.dumps(reader))  # as Dask sends it to a worker
    np.testing.assert_array_equal(sent.read(10).sar, chip.sar)
    rest, choice = plan_chips(str(tmp_path), optical, radar, size_px=18, least_valid=0.5)
    assert choice.blank > 0
    assert len(rest) + choice.blank + choice.sparse == 7 * 5


def test_a_registered_radar_is_put_where_it_truly_lies(cubes, tmp_path):
    rows, cols = np.mgrid[:140, :120] + 0.5
    slope = (-20 + 0.05 * cols - 0.08 * rows).astype(np.float32)  # dB, of the radar's own pixels
    stated = make_cube(
        tmp_path, "late", {"vv": slope}, [backscatter("dB")], corner=(400_100, 5_000_200), radar=True
    )
    said = {"fixed": "optical", "moving": "late", "explanation": "they agree", "applied": "geotransform"}
    true = (10.0, 0.2, 400_063.0, -0.2, -10.0, 5_000_224.0)
    correction = Correction(**said, registered=True, corrected_transform=true)
    reader, choice = plan_chips(
        str(tmp_path), cubes[0], correction.correct(stated), size_px=32, registration="late-registered"
    )
    assert reader.name == "late-registered"
    assert len(reader) + choice.blank + choice.sparse == 5 * 4  # of all the optical cube
    window, chip = reader.windows[6], reader.read(6)
    x, y = (side + 0.5 for side in np.meshgrid(*(np.arange(n, n + 32) for n in (window.col, window.row))))
    own = ~Affine(*true) @ Affine(*cubes[0].grid.transform)
    col, row = own.a * x + own.b * y + own.c, own.d * x + own.e * y + own.f
    assert chip.valid.all()
    np.testing.assert_allclose(chip.sar[0], -20 + 0.05 * col - 0.08 * row, atol=2e-3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(6).sar, chip.sar)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"registered": False, "explanation": "too few tie points agree."}, "too few tie points"),
        ({"applied": "warp", "corrected_transform": None}, "bends its pixels"),
    ],
)
def test_a_registration_that_moves_no_grid_is_refused(cubes, change, told):
    said = {"fixed": "optical", "moving": "radar", "explanation": "they agree", "applied": "geotransform"}
    stated = {**said, "registered": True, "corrected_transform": cubes[1].grid.transform, **change}
    with pytest.raises(InputError, match=told):
        Correction(**stated).correct(cubes[1])


def test_statistics_are_those_of_all_valid_pixels(cubes, tmp_path):
    reader, _ = plan_chips(str(tmp_path), cubes[0], cubes[1], size_px=45, least_valid=0.0)
    moments = measure_chips(reader)
    chips = [reader.read(index) for index in range(len(reader))]
    whole = [np.concatenate([c.rgb[i][c.valid[0]] for c in chips]).astype(np.float64) for i in range(3)]
    radar = np.concatenate([c.sar[c.valid] for c in chips]).astype(np.float64)
    stated = moments.mean_and_std()
    np.testing.assert_allclose(stated["rgb"]["mean"], [side.mean() for side in whole], rtol=1e-6)
    np.testing.assert_allclose(stated["rgb"]["std"], [side.std() for side in whole], rtol=1e-6)
    np.testing.assert_allclose(
        [*stated["sar"]["mean"], *stated["sar"]["std"]], [radar.mean(), radar.std()], rtol=1e-6
    )
    assert moments == measure_chips(reader)
    assert moments.chips == len(reader)
    assert moments.rgb[0].count == sum(int(c.valid.sum()) for c in chips)
    with pytest.raises(InputError, match="no chip"):
        measure_chips(reader, [])


@pytest.mark.parametrize(("unit", "valid"), [("dB", 1.0), ("linear", 0.75), (None, 0.75)])
def test_zero_is_no_data_unless_it_is_decibels(tmp_path, unit, valid):
    """One rule: what the choice of windows counts as data is what a chip holds."""
    rng = np.random.default_rng(5)
    optical = {name: rng.integers(500, 3000, (32, 32), dtype=np.uint16) for name in ("red", "green", "blue")}
    radar = rng.gamma(3, 0.03, (32, 32)).astype(np.float32)
    radar = 10 * np.log10(radar) if unit == "dB" else radar
    radar[:8] = 0
    scenes = (
        make_cube(tmp_path, "o", optical, map(colour, optical)),
        make_cube(tmp_path, "r", {"vv": radar}, [backscatter(unit)], radar=True),
    )
    reader, _ = plan_chips(str(tmp_path), *scenes, size_px=32, least_valid=valid)
    assert reader.read(0).valid.mean() == valid
    if valid < 1:
        _, choice = plan_chips(str(tmp_path), *scenes, size_px=32, least_valid=valid + 0.01)
        assert choice.sparse == 1


def test_cubes_that_do_not_fit_are_refused(cubes, tmp_path):
    optical, radar, _, _ = cubes
    store = str(tmp_path)
    with pytest.raises(InputError, match="120 × 90"):
        plan_chips(store, optical, radar, size_px=91)
    with pytest.raises(InputError, match="radar is no colour image"):
        plan_chips(store, radar, radar, size_px=32)
    with pytest.raises(InputError, match="optical is no radar cube"):
        plan_chips(store, optical, optical, size_px=32)
    two = dataclasses.replace(optical, bands=optical.bands[:2])
    with pytest.raises(InputError, match="no colour image"):
        plan_chips(store, two, radar, size_px=32)
    for moved in (
        (10.0, 0.0, 400_105.0, 0.0, -10.0, 5_000_200.0),
        (20.0, 0.0, 400_100.0, 0.0, -20.0, 5_000_200.0),
    ):
        grid = dataclasses.replace(radar.grid, transform=moved)
        with pytest.raises(InputError, match="do not lie on one grid"):
            plan_chips(store, optical, dataclasses.replace(radar, grid=grid), size_px=32)
    far = dataclasses.replace(radar.grid, transform=(10.0, 0.0, 900_000.0, 0.0, -10.0, 5_000_200.0))
    with pytest.raises(InputError, match="share no ground"):
        plan_chips(store, optical, dataclasses.replace(radar, grid=far), size_px=32)
    wrong = dataclasses.replace(radar, bands=(backscatter("dB"),))
    reader, _ = plan_chips(store, optical, wrong, size_px=32)
    with pytest.raises(DataError, match="'vv' of radar is declared as decibels"):
        reader.read(0)


@pytest.fixture
def patches(tmp_path):
    return write_patches(tmp_path)


def test_published_folders_are_read(patches, tmp_path):
    umbra, capella = find_patches(patches)
    assert (umbra.name, capella.name, len(umbra)) == ("umbra", "capella", 2)
    chip = capella.read(1)
    assert chip.rgb.shape == (3, 48, 40)
    assert not chip.valid[0, :4].any()
    assert chip.valid[0, 4:].all()
    assert np.isnan(chip.sar[0, :4]).all()


def test_folders_that_are_wrong_are_refused(patches, tmp_path):
    rng = np.random.default_rng(3)
    folder = patches / "Umbra_patches"
    write_tif(folder / "rgb" / "a.tif", rng.integers(1, 255, (2, 48, 40), dtype=np.uint8))
    (umbra, _) = find_patches(patches)
    with pytest.raises(DataError, match=r"a\.tif has 2 bands; expected 3"):
        umbra.read(0)
    write_tif(folder / "rgb" / "a.tif", rng.integers(1, 255, (3, 48, 48), dtype=np.uint8))
    with pytest.raises(DataError, match="expected one size"):
        umbra.read(0)
    (folder / "sar" / "b.tif").unlink()
    with pytest.raises(DataError, match=r"b\.tif' on one side only"):
        find_patches(patches)
    with pytest.raises(NotFoundError, match="holds no pairs"):
        find_patches(patches / "nowhere")
    (folder / "rgb" / "b.tif").unlink()
    write_tif(folder / "rgb" / "a.tif", rng.integers(1, 255, (3, 48, 40), dtype=np.uint8))
    (decibels, _) = find_patches(patches, sar_unit="dB")
    with pytest.raises(DataError, match="declared as decibels"):
        decibels.read(0)


def test_public_sets_are_read_and_written(tmp_path):
    rng = np.random.default_rng(4)
    s1, s2 = tmp_path / "ben" / "S1" / "S1A_x", tmp_path / "ben" / "S2" / "S2A_y"
    for band in ("B02", "B03", "B04"):
        write_tif(s2 / f"S2A_y_{band}.tif", rng.integers(100, 3000, (60, 60), dtype=np.uint16))
    write_tif(s1 / "S1A_x_VV.tif", rng.normal(-12, 3, (60, 60)).astype(np.float32))
    (s1 / "S1A_x_labels_metadata.json").write_text(json.dumps({"corresponding_s2_patch": "S2A_y"}))
    reader = cut_rasters("ben", find_bigearthnet(tmp_path / "ben"), size_px=40)
    assert len(reader) == 4
    assert reader.read(3).rgb.max() < 0.31
    written = write_chips(tmp_path / "ben.safetensors", reader, source="here", licence="none")
    assert (written.chips, written.blank) == (4, 0)
    (s1 / "S1A_x_labels_metadata.json").write_text(json.dumps({"corresponding_s2_patch": "../../S2A_y"}))
    with pytest.raises(DataError, match="expected the name of a folder"):
        find_bigearthnet(tmp_path / "ben")
    floods = tmp_path / "floods"
    write_tif(floods / "a_S2Hand.tif", rng.integers(100, 3000, (13, 64, 64), dtype=np.int16))
    radar = rng.normal(-12, 3, (2, 64, 64)).astype(np.float32)
    radar[:, :32, :32] = np.nan
    write_tif(floods / "a_S1Hand.tif", radar)
    reader = cut_rasters("floods", find_sen1floods11(floods), size_px=32)
    written = write_chips(tmp_path / "floods.safetensors", reader, source="here", licence="none")
    assert (written.chips, written.blank) == (4, 1)
    with pytest.raises(DataError, match="has 2 bands"):
        cut_rasters("pictures", find_pictures(floods), size_px=64)
    with pytest.raises(NotFoundError, match="no pair"):
        cut_rasters("none", find_pictures(tmp_path / "none"), size_px=64)


def test_files_of_one_place_must_lie_on_one_grid(tmp_path):
    rng = np.random.default_rng(6)
    write_tif(tmp_path / "a_S2Hand.tif", rng.integers(100, 3000, (13, 64, 64), dtype=np.int16))
    radar = rng.normal(-12, 3, (64, 64)).astype(np.float32)
    for moved in ({"corner": (400_005, 5_000_000)}, {"corner": (400_000, 5_000_010)}, {"crs": "EPSG:32634"}):
        write_tif(tmp_path / "a_S1Hand.tif", radar, **moved)
        with pytest.raises(DataError, match="does not lie on the grid"):
            cut_rasters("x", find_sen1floods11(tmp_path), size_px=32)
    write_tif(tmp_path / "a_S1Hand.tif", radar[:32])
    with pytest.raises(DataError, match="does not lie on the grid"):
        cut_rasters("x", find_sen1floods11(tmp_path), size_px=32)
    write_tif(tmp_path / "a_S1Hand.tif", radar, corner=(400_000.01, 5_000_000))
    assert len(cut_rasters("x", find_sen1floods11(tmp_path), size_px=32)) == 4


def test_only_the_window_is_decoded(tmp_path):
    """A file whose other end is spoilt still gives the chips of its sound end."""
    rng = np.random.default_rng(7)
    path = tmp_path / "a.tif"
    pixels = rng.integers(1, 255, (3, 256, 256), dtype=np.uint8)
    write_tif(path, pixels, tiled=True, blockxsize=64, blockysize=64, compress="deflate", interleave="pixel")
    reader = cut_rasters("x", find_pictures(tmp_path), size_px=64)
    whole = [reader.read(index) for index in range(len(reader))]
    content = bytearray(path.read_bytes())
    content[-4000:] = bytes(4000)
    path.write_bytes(content)
    np.testing.assert_array_equal(reader.read(0).rgb, whole[0].rgb)
    np.testing.assert_array_equal(whole[0].rgb, pixels[:, :64, :64].astype(np.float32))
    with pytest.raises(DataError, match="cannot be read as a GeoTIFF"):
        reader.read(15)
    write_tif(path, pixels[:, :100])
    with pytest.raises(DataError, match="up to row 256"):
        reader.read(15)


def test_too_many_chips_are_refused_before_they_are_stacked(tmp_path, monkeypatch):
    rgb = np.random.default_rng(8).uniform(size=(3, 8, 8)).astype(np.float32)
    reader = ArrayChips((Chip(rgb, None),) * 9)
    monkeypatch.setattr("catalog.chips.files._MOST_BYTES", 4 * rgb.nbytes)
    with pytest.raises(DataError, match="first 5 chips of made-up take more than"):
        write_chips(tmp_path / "x.safetensors", reader, source="a test", licence="none")
    assert not list(tmp_path.iterdir())


def test_chips_without_data_say_so(tmp_path):
    blank = Chip(np.full((3, 8, 8), np.nan, np.float32), np.zeros((1, 8, 8), np.float32))
    assert describe_chip(blank).blank == 1
    flat = Chip(np.ones((3, 8, 8), np.float32), np.zeros((1, 8, 8), np.float32))
    both = merge_chips([describe_chip(blank), describe_chip(flat)])
    assert (both.chips, both.blank) == (2, 1)
    with pytest.raises(DataError, match="one value everywhere"):
        both.mean_and_std()
