import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from catalog.pairs.find import find_pairs
from catalog.pairs.known_warps import find_known_warps
from catalog.pairs.pictures import read_picture
from infra.errors import DataError, InputError, NotFoundError
from tests.support.matching import blobs, write_pair


def test_pairs_are_found_at_any_depth_and_told_apart(tmp_path):
    write_pair(tmp_path / "SAR_Optical", "SO1")
    write_pair(tmp_path / "deep" / "down", "MO2")
    write_pair(tmp_path / "one", "same")
    write_pair(tmp_path / "two", "same")
    write_pair(tmp_path, "named", **{"class": "Map"})
    (tmp_path / "other.json").write_text('{"type": "FeatureCollection", "features": []}')
    (tmp_path / "list.json").write_text("[1, 2]")
    found = {source.id: source.kind for source in find_pairs(tmp_path)}
    assert found == {
        "SO1": "SAR_Optical",
        "MO2": "down",
        "one/same": "one",
        "two/same": "two",
        "named": "Map",
    }


def test_a_pair_holds_what_its_file_says(tmp_path):
    matrix = [[0.9, 0.1, 1e-5], [-0.2, 1.1, 2e-5], [5.0, 6.0, 1.0]]
    write_pair(tmp_path, fixed_from_moving_row_vector_3x3=matrix)
    (source,) = find_pairs(tmp_path)
    pair = source.read()
    np.testing.assert_array_equal(pair.fixed, blobs((160, 200), seed=4))
    assert pair.fixed_valid is None
    assert pair.moving_landmarks_xy.tolist() == [[20, 30], [150.5, 40.25], [60, 120]]
    row = np.array([12.0, 34.0, 1.0]) @ np.array(matrix)
    column = pair.fixed_from_moving @ [12.0, 34.0, 1.0]
    np.testing.assert_allclose(row, column)


def test_positions_that_count_from_one_are_moved(tmp_path):
    matrix = [[0.9, 0.1, 1e-4], [-0.2, 1.1, 2e-4], [5.0, 6.0, 1.0]]
    write_pair(tmp_path, "zero", fixed_from_moving_row_vector_3x3=matrix)
    write_pair(
        tmp_path, "one", fixed_from_moving_row_vector_3x3=matrix, pixel_convention="MATLAB, 1-based centres"
    )
    one, zero = (source.read() for source in find_pairs(tmp_path))
    np.testing.assert_allclose(one.fixed_landmarks_xy, zero.fixed_landmarks_xy - 1)

    def place(transform: np.ndarray, x: float, y: float) -> np.ndarray:
        mapped = transform @ [x, y, 1]
        return mapped[:2] / mapped[2]

    np.testing.assert_allclose(
        place(one.fixed_from_moving, 49, 59), place(zero.fixed_from_moving, 50, 60) - 1, atol=1e-9
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"landmarks_fixed_xy": None, "landmarks_moving_xy": None},
        {"fixed_from_moving_row_vector_3x3": None},
    ],
    ids=["matrix alone", "landmarks alone"],
)
def test_landmarks_or_a_matrix_are_enough(tmp_path, changes):
    write_pair(tmp_path, **changes)
    pair = find_pairs(tmp_path)[0].read()
    assert (pair.fixed_from_moving is None) != (pair.fixed_landmarks_xy is None)


BAD = {
    "no truth": (
        {"landmarks_fixed_xy": None, "landmarks_moving_xy": None, "fixed_from_moving_row_vector_3x3": None},
        "tells nothing",
    ),
    "one side's landmarks": ({"landmarks_moving_xy": None}, "landmarks_moving_xy"),
    "unequal": ({"landmarks_moving_xy": [[1, 2]]}, "3 landmarks in the fixed image and 1"),
    "no landmarks": ({"landmarks_moving_xy": []}, "landmarks_moving_xy"),
    "many": ({"landmarks_moving_xy": [[1, 2]] * 10_001}, "1 to 10000"),
    "three numbers": ({"landmarks_moving_xy": [[1, 2, 3]] * 3}, "[1, 2, 3]"),
    "text": ({"landmarks_moving_xy": [["1", 2]] * 3}, "'1'"),
    "true": ({"landmarks_moving_xy": [[True, 2]] * 3}, "True"),
    "huge": ({"landmarks_moving_xy": [[1e300, 2]] * 3}, "1e+300"),
    "huge whole": ({"landmarks_moving_xy": [[10**400, 2]] * 3}, "10000"),
    "two rows": ({"fixed_from_moving_row_vector_3x3": [[1, 0, 0], [0, 1, 0]]}, "three rows"),
    "flat": ({"fixed_from_moving_row_vector_3x3": [[1, 1, 0], [1, 1, 0], [0, 0, 1]]}, "no inverse"),
    "zero": ({"fixed_from_moving_row_vector_3x3": [[0, 0, 0]] * 3}, "no inverse"),
    "no image": ({"moving": None}, "'moving'"),
    "image of another type": ({"moving": ["a.png"]}, "['a.png']"),
    "absent": ({"moving": "gone.png"}, "gone.png"),
    "folder": ({"moving": "."}, "absent"),
    "climbing": ({"moving": "../../secret.png"}, "outside"),
    "absolute": ({"moving": "/etc/hostname"}, "outside"),
    "null byte": ({"moving": "a\0.png"}, "moving"),
    "class": ({"class": 5}, "class"),
    "lines in a class": ({"class": "a\nb"}, "class"),
    "long class": ({"class": "a" * 81}, "class"),
    "empty class": ({"class": ""}, "class"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_description_is_told_with_its_file(tmp_path, name):
    changes, said = BAD[name]
    write_pair(tmp_path / "set", **changes)
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path / "set")
    assert said in caught.value.message
    assert "pair.json" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "text",
    ["{", "", '{"fixed": NaN, "moving": 1}', "[" * 100_000, '{"fixed": ' + "9" * 5_000 + "}", "\xff\xfe"],
    ids=["cut", "empty", "nan", "deep", "long number", "not utf-8"],
)
def test_broken_json_is_told_with_its_file(tmp_path, text):
    write_pair(tmp_path)
    (tmp_path / "broken.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"broken\.json is no valid JSON"):
        find_pairs(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that nobody can read")
def test_a_file_that_cannot_be_read_is_told(tmp_path):
    # Modes do not keep root out; this file, of size 0, does.
    (tmp_path / "locked.json").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"locked\.json cannot be read \(Input/output error\)"):
        find_pairs(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    path = write_pair(tmp_path / "set")
    outside = tmp_path / "outside.png"
    Image.fromarray(blobs((20, 20))).save(outside)
    (tmp_path / "set" / "link.png").symlink_to(outside)
    path.write_text(path.read_text().replace("pair_moving.png", "link.png"))
    with pytest.raises(DataError, match="outside"):
        find_pairs(tmp_path / "set")


def test_a_folder_without_pairs_is_told(tmp_path):
    with pytest.raises(NotFoundError, match="No image pairs"):
        find_pairs(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        find_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_map_data_is_paired_by_name(tmp_path, suffix):
    left, right = (tmp_path / "sets" / "007" / "2" / side for side in "LR")
    for side in (left, right):
        side.mkdir(parents=True)
        for name in ("b", "a"):
            _save(side / f"{name}{suffix}", np.repeat(blobs((32, 40))[..., None], 3, axis=2))
    (left / "notes.txt").write_text("not an image")
    found = find_pairs(tmp_path)
    assert [(source.id, source.kind) for source in found] == [("007/2/a", "2"), ("007/2/b", "2")]
    pair = found[0].read()
    assert pair.fixed.shape == pair.moving.shape == (32, 40, 3)
    np.testing.assert_array_equal(pair.fixed_from_moving, np.eye(3))


def test_sites_of_one_name_keep_apart(tmp_path):
    for part in ("train", "val"):
        for side in "LR":
            (tmp_path / part / "001" / "1" / side).mkdir(parents=True)
            _save(tmp_path / part / "001" / "1" / side / "a.png", blobs((32, 40)))
    assert [source.id for source in find_pairs(tmp_path)] == ["train/001/1/a", "val/001/1/a"]


def test_map_data_that_does_not_pair_up_is_told(tmp_path):
    folder = tmp_path / "001" / "1"
    for side in "LR":
        (folder / side).mkdir(parents=True)
        _save(folder / side / "a.png", blobs((30, 30)))
    _save(folder / "L" / "b.png", blobs((30, 30)))
    with pytest.raises(DataError, match="'b' on one side"):
        find_pairs(tmp_path)
    _save(folder / "R" / "b.jpg", blobs((30, 31)))
    other = tmp_path / "002" / "3" / "R"
    other.mkdir(parents=True)
    assert len(find_pairs(tmp_path)) == 2
    for name in ("c", "d"):
        _save(other / f"{name}.png", blobs((30, 30)))
    with pytest.raises(DataError, match=r"002/3 has the image 'c' on one side only \(2 such"):
        find_pairs(tmp_path)
    for path in other.iterdir():
        path.unlink()
    (_, second) = find_pairs(tmp_path)
    with pytest.raises(DataError, match="lie on one another"):
        second.read()
    _save(folder / "R" / "b.png", blobs((30, 30)))
    with pytest.raises(DataError, match="have one name"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("L", (12, 15), "uint8"),
        ("1", (12, 15), "uint8"),
        ("P", (12, 15, 3), "uint8"),
        ("RGB", (12, 15, 3), "uint8"),
        ("RGBA", (12, 15, 3), "uint8"),
        ("LA", (12, 15), "uint8"),
        ("I;16", (12, 15), "int32"),
    ],
)
def test_every_kind_of_png_is_read(tmp_path, mode, shape, dtype):
    grey = Image.fromarray(blobs((12, 15)))
    if mode == "I;16":
        grey = Image.fromarray(blobs((12, 15)).astype(np.uint16) * 200)
    picture = grey if mode == "I;16" else grey.convert(mode)
    if "A" in mode:
        alpha = np.full((12, 15), 255, np.uint8)
        alpha[:4] = 0
        picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    assert (read.pixels.shape, str(read.pixels.dtype)) == (shape, dtype)
    assert (read.valid is None) == ("A" not in mode)
    if read.valid is not None:
        assert not read.valid[:4].any()
        assert read.valid[4:].all()
    if mode == "I;16":
        np.testing.assert_array_equal(read.pixels, blobs((12, 15)).astype(np.int32) * 200)


@pytest.mark.parametrize(("bands", "dtype"), [(1, "float32"), (2, "float64"), (3, "uint8"), (13, "uint16")])
def test_rasters_keep_their_bands_and_types(tmp_path, rng, bands, dtype):
    pixels = (rng.uniform(1, 200, (11, 14, bands))).astype(dtype)
    pixels[0] = 0
    _save(tmp_path / "a.tif", pixels, nodata=0)
    read = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(read.pixels, pixels[..., 0] if bands == 1 else pixels)
    assert read.pixels.dtype == dtype
    assert not read.valid[0].any()
    assert read.valid[1:].all()


def test_the_fourth_band_of_a_raster_is_not_taken_for_alpha(tmp_path):
    pixels = np.dstack([blobs((12, 15))] * 4)
    pixels[:4, :, 3] = 0
    _save(tmp_path / "infrared.tif", pixels, photometric="MINISBLACK", alpha="NO")
    read = read_picture(tmp_path / "infrared.tif")
    assert read.pixels.shape == (12, 15, 4)
    assert read.valid is None
    _save(tmp_path / "alpha.tif", pixels, photometric="RGB", alpha="YES")
    read = read_picture(tmp_path / "alpha.tif")
    assert read.pixels.shape == (12, 15, 3)
    assert not read.valid[:4].any()
    assert read.valid[4:].all()


def _png_header(width: int, height: int) -> bytes:
    """Make the start of a picture that claims a size it has no bytes for."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 10_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 100_000])
def test_a_picture_larger_than_memory_is_refused_unread(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(_png_header(side, side))
    with pytest.raises(DataError, match=r"bomb\.png"):
        read_picture(tmp_path / "bomb.png")


def test_a_raster_larger_than_memory_is_refused_unread(tmp_path):
    size = {"width": 60_000, "height": 60_000, "count": 3, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with rasterio.open(
        tmp_path / "bomb.tif", "w", driver="GTiff", crs="EPSG:3857", transform=(2, 0, 500, 0, -2, 900), **size
    ):
        pass
    assert (tmp_path / "bomb.tif").stat().st_size < 5e7
    with pytest.raises(DataError, match="60000×60000"):
        read_picture(tmp_path / "bomb.tif")


def test_files_that_are_no_images_are_told(tmp_path):
    good = tmp_path / "good.png"
    Image.fromarray(blobs((200, 200))).save(good)
    whole = good.read_bytes()
    vrt = (
        '<VRTDataset rasterXSize="200" rasterYSize="200"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{good}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    for name, content in (
        ("empty.png", b""),
        ("text.png", b"hello"),
        ("cut.png", whole[: len(whole) // 2]),
        ("flipped.png", whole[:60] + bytes(100) + whole[160:]),
        ("text.jpg", b"hello"),
        ("text.tif", b"hello"),
        ("disguised.tif", vrt.encode()),
        ("disguised.png", vrt.encode()),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_picture(tmp_path / name)


def test_known_warps_say_what_is_absent(tmp_path):
    with pytest.raises(NotFoundError, match=r"282D_485L_3_3\.tif is absent"):
        find_known_warps(tmp_path)


@pytest.mark.real
def test_the_real_pairs_are_read(real_data: Path):
    found = find_pairs(real_data / "matching" / "multimodal_rs")
    assert len(found) == 22
    assert len({source.kind for source in found}) == 7
    for source in found[::7]:
        pair = source.read()
        told = json.loads(next(real_data.rglob(f"{source.id}.json")).read_text())
        mapped = np.column_stack([pair.moving_landmarks_xy, np.ones(len(pair.moving_landmarks_xy))])
        mapped = mapped @ pair.fixed_from_moving.T
        off = np.linalg.norm(mapped[:, :2] / mapped[:, 2:] - pair.fixed_landmarks_xy, axis=1)
        assert np.sqrt((off**2).mean()) == pytest.approx(told["landmark_rmse_of_ground_truth_px"], abs=0.01)


@pytest.mark.real
def test_the_known_warps_are_read(real_data: Path):
    found = find_known_warps(real_data, repeats=2)
    assert len(found) == 16
    assert len({source.id for source in found}) == 16
    for source in found[::2]:
        pair = source.read()
        assert pair.fixed.shape[:2] == pair.moving.shape[:2]
        assert pair.fixed.shape[2] == 3
        np.testing.assert_array_equal(pair.fixed_from_moving, np.eye(3))
        if source.kind == "kampala drone/map":
            assert pair.moving.std() > 5, "buildings are drawn"


def _save(path: Path, pixels: np.ndarray, **profile: object) -> None:
    if path.suffix != ".tif":
        Image.fromarray(pixels).save(path)
        return
    bands = np.moveaxis(np.atleast_3d(pixels), 2, 0)
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    place = {"crs": "EPSG:3857", "transform": rasterio.Affine(2, 0, 500, 0, -2, 900)}
    with rasterio.open(path, "w", driver="GTiff", **size, **place, **profile) as file:
        file.write(bands)


@pytest.mark.parametrize("name", ["a" * 300, "\ud800.png", "loop.png"])
def test_names_that_no_file_can_have_are_one_line(tmp_path, name):
    write_pair(tmp_path, fixed=name)
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(DataError, match="no file's name"):
        find_pairs(tmp_path)


def test_what_lies_beside_a_geotiff_is_not_read(tmp_path):
    _save(tmp_path / "a.tif", np.ones((8, 8), np.uint8))
    _save(tmp_path / "elsewhere.tif", np.eye(8, dtype=np.uint8) * 255)
    (tmp_path / "a.tif.msk").write_text(
        '<VRTDataset rasterXSize="8" rasterYSize="8"><Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI>'
        '</Metadata><VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="0">'
        f"{tmp_path}/elsewhere.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    assert read_picture(tmp_path / "a.tif").valid is None
