"""Readers: two loaders, one meaning. Truth is the synthetic world, or rasterio on real scenes."""

from __future__ import annotations

import dataclasses
import http.server
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import from_bounds

from catalog.readers.protocol import ReadRequest, fill_value, settle_fill, valid_mask
from catalog.readers.registry import make_reader
from catalog.records import Scene
from infra.errors import AppError, DataError, InputError, NotFoundError, TransientError
from tests.support.fakes import FakeReader
from tests.support.synthetic import (
    MODIS_SINUSOIDAL,
    ORIGIN_XY,
    known_scene,
    make_band,
    make_geobox,
    make_scene,
    truth,
    write_image,
)

LOADERS = ("odc", "stackstac")
LEFT, TOP = ORIGIN_XY


def read(loader, scenes, geobox, *, bands=None, resampling="nearest"):
    names = bands or [band.name for band in scenes[0].bands]
    request = ReadRequest(scenes=scenes, bands=names, geobox=geobox, resampling=resampling)
    return dict(make_reader(loader).read(request))


def read_alike(scenes, geobox, **options):
    """Read with both loaders, fail unless every band is identical, return the pixels."""
    by_loader = [read(loader, scenes, geobox, **options) for loader in LOADERS]
    for name, pixels in by_loader[0].items():
        assert pixels.dtype == by_loader[1][name].dtype
        np.testing.assert_array_equal(pixels, by_loader[1][name], err_msg=name)
    return by_loader[0]


@pytest.fixture
def scene(tmp_path) -> Scene:
    dtypes = {"red": "uint16", "vv": "float32", "rgb": "uint8", "dem": "int16"}
    return known_scene(tmp_path, geobox=make_geobox((200, 300)), dtypes=dtypes)


@pytest.mark.parametrize("loader", [*LOADERS, "fake"])
class TestTruth:
    """Every reader, the fake one among them, gives what nature holds."""

    @pytest.fixture(autouse=True)
    def _fake(self, monkeypatch):
        monkeypatch.setitem(make_reader.__globals__["READERS"], "fake", FakeReader)

    def test_native_grid(self, scene, loader):
        geobox = make_geobox((200, 300))
        for name, pixels in read(loader, [scene], geobox).items():
            band = next(band for band in scene.bands if band.name == name)
            np.testing.assert_array_equal(pixels, truth(geobox, band.dtype))

    def test_part_of_the_native_grid(self, scene, loader):
        part = make_geobox((50, 60), origin_xy=(LEFT + 400, TOP - 300))
        assert (read(loader, [scene], part)["red"] == truth(part)).all()

    def test_bands_asked_for_come_once_each(self, scene, loader):
        assert set(read(loader, [scene], make_geobox((8, 8)), bands=["vv", "red"])) == {"red", "vv"}


class TestAlike:
    @pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average", "mode"])
    @pytest.mark.parametrize(
        "geobox",
        [
            make_geobox((200, 300)),
            make_geobox((90, 70), origin_xy=(LEFT + 123.4, TOP - 77.7)),
            make_geobox((60, 90), origin_xy=(LEFT, TOP), step=20),
            make_geobox((170, 150), origin_xy=(LEFT + 501, TOP - 503), step=3.3),
            make_geobox((64, 64), origin_xy=(LEFT - 200, TOP + 250)),
        ],
        ids=["native", "offset", "coarser", "finer", "beyond-the-edge"],
    )
    def test_in_the_same_zone(self, scene, geobox, resampling):
        read_alike([scene], geobox, resampling=resampling, bands=["red", "vv"])

    @pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
    @pytest.mark.parametrize(
        "crs_origin", [("EPSG:32632", (941_200.0, 5_416_600.0)), ("EPSG:4326", (15.002, 48.752))]
    )
    def test_in_another_crs(self, scene, crs_origin, resampling):
        crs, origin = crs_origin
        step = 10.0 if crs != "EPSG:4326" else 0.0001
        pixels = read_alike(
            [scene], make_geobox((96, 96), origin_xy=origin, step=step, crs=crs), resampling=resampling
        )
        assert (pixels["red"] != 0).any()

    @pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
    def test_mosaic_is_first_valid_wins(self, tmp_path, resampling):
        west, east = make_geobox((80, 80)), make_geobox((80, 80), origin_xy=(LEFT + 400, TOP))
        scenes = []
        for name, box, number in (("a", west, 100), ("b", east, 200)):
            pixels = np.full(box.shape, number, dtype="uint16")
            pixels[:10] = 0
            if name == "a":
                pixels[40:60, 60:] = 0  # a hole where the second one holds data
            path = write_image(tmp_path / f"{name}.tif", box, pixels)
            scenes.append(make_scene(name, box, [make_band("red", path)]))
        both = read_alike(scenes, make_geobox((80, 120)), resampling=resampling)["red"]
        expected = np.full((80, 120), 200)
        expected[:, :80] = 100
        expected[40:60, 60:80] = 200
        expected[:10] = 0
        np.testing.assert_array_equal(both, expected)
        turned = read_alike(scenes[::-1], make_geobox((80, 120)), resampling=resampling)["red"]
        assert (turned[10:, 40:] == 200).all()

    @pytest.mark.parametrize(
        ("dtype", "nodata"),
        [("float32", float("nan")), ("float32", -99.0), ("float32", None), ("float64", -9999.0),
         ("uint16", 0.0), ("uint16", 65535.0), ("uint8", 255.0), ("uint8", None),
         ("int16", -32768.0), ("int16", None)],
    )  # fmt: skip
    @pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
    def test_holes_and_outside_are_fill(self, tmp_path, dtype, nodata, resampling):
        box = make_geobox((64, 64))
        pixels = truth(box, dtype)
        if nodata is not None:
            pixels[20:30, 20:30] = nodata
        path = write_image(tmp_path / "holes.tif", box, pixels, nodata=nodata)
        spelt = "nan" if nodata is not None and np.isnan(nodata) else nodata
        band = make_band("b", path, dtype=dtype, nodata=spelt)
        wider = make_geobox((80, 80))
        found = read_alike([make_scene("s", box, [band])], wider, resampling=resampling)["b"]
        fill = fill_value(band)
        np.testing.assert_array_equal(found[64:], np.full((16, 80), fill, dtype=dtype))
        if resampling == "nearest":
            np.testing.assert_array_equal(found[:64, :64], pixels)
        if nodata is not None:
            assert not valid_mask(found[21:29, 21:29], fill).any()

    @pytest.mark.parametrize("stated", [0.0, -99.0])
    def test_nan_beside_a_stated_nodata_is_fill_too(self, tmp_path, stated):
        box = make_geobox((32, 32))
        pixels = truth(box, "float32")
        pixels[:4], pixels[4:8] = np.nan, stated
        path = write_image(tmp_path / "both.tif", box, pixels, nodata=stated)
        band = make_band("vv", path, dtype="float32", nodata=stated)
        found = read_alike([make_scene("s", box, [band])], box)["vv"]
        np.testing.assert_array_equal(found[:8], np.full((8, 32), stated, dtype="float32"))
        np.testing.assert_array_equal(found[8:], pixels[8:])

    def test_classes_are_never_averaged(self, tmp_path):
        box = make_geobox((64, 64))
        classes = np.where(np.indices(box.shape).sum(0) % 2, 8, 4).astype("uint8")
        path = write_image(tmp_path / "scl.tif", box, classes)
        scene = make_scene("s", box, [make_band("scl", path, dtype="uint8", quality=True)])
        offset = make_geobox((100, 100), origin_xy=(LEFT + 3, TOP - 3), step=6)
        for resampling in ("bilinear", "cubic", "average"):
            found = read_alike([scene], offset, resampling=resampling)["scl"]
            assert set(np.unique(found)) == {4, 8}


class TestOdcOnly:
    def test_any_band_of_a_multi_band_file(self, tmp_path):
        box = make_geobox((64, 64))
        stack = np.stack([truth(box), truth(box)[::-1], truth(box)[:, ::-1]])
        path = write_image(tmp_path / "rgb.tif", box, stack)
        bands = [make_band(name, path, index=index) for index, name in enumerate("rgb", 1)]
        found = read("odc", [make_scene("s", box, bands)], box)
        for index, name in enumerate("rgb"):
            np.testing.assert_array_equal(found[name], stack[index])

    def test_a_grid_without_epsg_code(self, tmp_path):
        box = make_geobox((64, 64), origin_xy=(-6_000_000, -1_300_000), step=231.656, crs=MODIS_SINUSOIDAL)
        scene = known_scene(tmp_path, geobox=box)
        np.testing.assert_array_equal(read("odc", [scene], box)["red"], truth(box, cell=231.656))


class TestRefusals:
    def test_stackstac_refuses_multi_band_files(self, tmp_path):
        box = make_geobox((16, 16))
        path = write_image(tmp_path / "two.tif", box, np.stack([truth(box)] * 2))
        for index in (1, 2):
            scene = make_scene("s", box, [make_band("red", path, index=index)])
            with pytest.raises(InputError, match="loader 'odc'"):
                read("stackstac", [scene], box)

    def test_stackstac_refuses_grids_without_epsg_code(self, scene):
        box = make_geobox((16, 16), crs=MODIS_SINUSOIDAL)
        with pytest.raises(InputError, match="EPSG grids only; use loader 'odc'"):
            read("stackstac", [scene], box)

    def test_unknown_loader(self):
        with pytest.raises(InputError, match="loader 'gdal' is unknown; choose one of: odc, stackstac"):
            make_reader("gdal")

    @pytest.mark.parametrize("loader", LOADERS)
    def test_an_absent_file(self, tmp_path, loader):
        scene = make_scene("s", make_geobox(), [make_band("red", tmp_path / "gone.tif")])
        with pytest.raises(NotFoundError, match=r"gone\.tif"):
            read(loader, [scene], make_geobox())

    @pytest.mark.parametrize("loader", LOADERS)
    def test_a_truncated_file(self, tmp_path, loader, rng):
        box = make_geobox((256, 256))
        noise = rng.integers(1, 60000, box.shape).astype("uint16")
        path = write_image(tmp_path / "cut.tif", box, noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match="cannot be read"):
            read(loader, [make_scene("s", box, [make_band("red", path)])], box)

    @pytest.mark.parametrize("loader", LOADERS)
    def test_what_is_no_image(self, tmp_path, loader):
        page = tmp_path / "page.tif"
        page.write_text("<html>503</html>" * 1000)
        with pytest.raises(AppError):
            read(loader, [make_scene("s", make_geobox(), [make_band("red", page)])], make_geobox())


class RangeHandler(http.server.BaseHTTPRequestHandler):
    """Serve a folder by byte ranges, write down what is asked, fail on demand."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        file = server.folder / self.path.lstrip("/").partition("?")[0]
        if server.answer != 200:
            return self._send(server.answer, b"")
        if not file.is_file():
            return self._send(404, b"")
        data = file.read_bytes()
        span = self.headers.get("Range")
        if span is None:
            return self._send(200, data)
        first, last = (int(part) if part else None for part in span.removeprefix("bytes=").split("-"))
        if first >= len(data):
            return self._send(416, b"")
        last = min(last if last is not None else len(data) - 1, len(data) - 1)
        return self._send(206, data[first : last + 1], f"bytes {first}-{last}/{len(data)}")

    def _send(self, status, body, span=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class RangeServer(http.server.ThreadingHTTPServer):
    """Bear it that GDAL hangs up as soon as it knows a file's size."""

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def range_server(tmp_path) -> Iterator[RangeServer]:
    server = RangeServer(("127.0.0.1", 0), RangeHandler)
    server.folder, server.asked, server.answer = tmp_path, [], 200
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def served(scene: Scene, server) -> Scene:
    bands = tuple(
        dataclasses.replace(band, href=f"{server.url}/{Path(band.href).name}") for band in scene.bands
    )
    return dataclasses.replace(scene, bands=bands)


class TestHttp:
    @pytest.mark.parametrize("loader", LOADERS)
    def test_a_window_is_a_few_ranges_and_no_listing(self, tmp_path, range_server, loader, rng):
        box = make_geobox((1024, 1024))
        noise = rng.integers(1, 60000, box.shape).astype("uint16")
        path = write_image(tmp_path / f"{loader}.tif", box, noise)
        scene = make_scene("s", box, [make_band("red", f"{range_server.url}/{path.name}")])
        window = make_geobox((100, 100), origin_xy=(LEFT + 2000, TOP - 2000))
        np.testing.assert_array_equal(read(loader, [scene], window)["red"], noise[200:300, 200:300])
        assert {path for path, _ in range_server.asked} == {f"/{path.name}"}
        # GDAL asks once without a range, for the size, and hangs up at the first bytes
        # (CPL_VSIL_CURL_USE_HEAD=NO).
        assert [span for _, span in range_server.asked].count(None) <= 1
        assert len(range_server.asked) <= 6

    def test_both_loaders_agree_over_http(self, scene, range_server):
        away = served(scene, range_server)
        here = read("odc", [scene], make_geobox((64, 64)))
        for name, pixels in read_alike([away], make_geobox((64, 64))).items():
            np.testing.assert_array_equal(pixels, here[name])

    @pytest.mark.parametrize("loader", LOADERS)
    def test_404_is_not_found(self, range_server, loader):
        scene = make_scene("s", make_geobox(), [make_band("red", f"{range_server.url}/gone-{loader}.tif")])
        with pytest.raises(NotFoundError):
            read(loader, [scene], make_geobox())

    def test_a_refusing_server_is_transient(self, tmp_path, range_server):
        write_image(tmp_path / "forbidden.tif", make_geobox(), truth(make_geobox()))
        range_server.answer = 403
        scene = make_scene("s", make_geobox(), [make_band("red", f"{range_server.url}/forbidden.tif")])
        with pytest.raises(TransientError):
            read("odc", [scene], make_geobox())


@pytest.mark.real
class TestReal:
    def check(self, path: Path, *, index=1, loaders=LOADERS, quality=False):
        """Read the middle of a real file by each loader; rasterio's window read is the truth."""
        with rasterio.open(path) as file:
            rows, cols = file.shape
            box = GeoBox(
                file.shape,
                file.transform,
                file.crs.to_wkt() if not file.crs.to_epsg() else file.crs.to_string(),
            )
            part = box[rows // 4 : rows // 2, cols // 4 : cols // 2]
            window = from_bounds(*part.boundingbox.bbox, file.transform).round_offsets().round_lengths()
            nodata = file.nodata
            expected = file.read(index, window=window)
            band = make_band(
                "b", path, index=index, dtype=file.dtypes[index - 1], quality=quality,
                nodata="nan" if nodata is not None and np.isnan(nodata) else nodata,
            )  # fmt: skip
        scene = make_scene("real", box, [band])
        expected = settle_fill(expected, fill_value(band))
        assert valid_mask(expected, fill_value(band)).any()
        for loader in loaders:
            np.testing.assert_array_equal(
                read(loader, [scene], part)["b"], expected, err_msg=f"{loader} {path}"
            )

    @pytest.mark.parametrize("index", [1, 2, 3, 4])
    def test_naip(self, real_data, index):
        folder = real_data / "timeseries/naip_north_dakota"
        for path in sorted(folder.glob("*.tif"))[:2]:
            self.check(path, index=index, loaders=("odc",))

    def test_landsat(self, real_data):
        for path in sorted((real_data / "rasters/landsat_c2l2").glob("*_017036_*.TIF")):
            self.check(path, quality="QA_PIXEL" in path.name)

    @pytest.mark.parametrize(
        "name",
        ["stac/earth_search/B01.tif", "rasters/cog_cases/cog_nodata_nan.tif", "rasters/sentinel1_vv_db.tif",
         "rasters/cog_cases/cog_dateline.tif", "rasters/cog_cases/scene_band1.tif"],
    )  # fmt: skip
    def test_single_band_files(self, real_data, name):
        self.check(real_data / name)

    def test_loaders_agree_off_the_native_grid(self, real_data):
        path = real_data / "rasters/sentinel1_vv_db.tif"
        with rasterio.open(path) as file:
            box = GeoBox(file.shape, file.transform, file.crs.to_string())
        scene = make_scene("s1", box, [make_band("vv", path, dtype="float32", nodata=-99.0)])
        target = make_geobox((150, 150), origin_xy=(621_000, 4_829_500), step=25, crs="EPSG:32631")
        for resampling in ("nearest", "bilinear"):
            found = read_alike([scene], target, resampling=resampling)["vv"]
            assert valid_mask(found, -99.0).mean() > 0.5


def test_reading_warns_of_nothing(scene):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        read_alike([scene], make_geobox((32, 32)), bands=["vv"], resampling="bilinear")
