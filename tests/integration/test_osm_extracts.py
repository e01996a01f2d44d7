"""Read real extracts and compare with osmnx; read a big one in bounded memory."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import osmnx
import pytest
import shapely

from catalog.osm.extract import describe_extract
from catalog.osm.reading import read_features
from catalog.osm.records import ELEMENTS, OsmReading
from infra.errors import DataError
from tests.support.osm import measure_reading, repeat_pbf, write_as_xml

pytestmark = pytest.mark.real

_FILES = {
    "West-Oakland.osm.bz2": (-122.3005, 37.8068, -122.2990, 37.8080),
    "berlin-siegessaeule.osm.gz": (13.3490, 52.5135, 13.3510, 52.5150),
    "planet_10.068,48.135_10.071,48.137.osm": (10.0690, 48.1355, 10.0700, 48.1365),
    "monaco-latest.osm.pbf": (7.4180, 43.7300, 7.4260, 43.7370),
    "test.osm.pbf": (26.9400, 60.5250, 26.9550, 60.5350),
    "baltimore.osm.pbf": (-76.5900, 39.2800, -76.5700, 39.2900),
}
"""File → a box inside it."""


@pytest.fixture(scope="module")
def osm_folder(real_data: Path) -> Path:
    return real_data / "osm"


@pytest.fixture(scope="module", params=_FILES)
def compared(
    request: pytest.FixtureRequest, osm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, geopandas.GeoDataFrame, tuple[float, ...]]:
    """A file, what osmnx makes of all of it, and a box."""
    source = osm_folder / request.param
    xml = write_as_xml(source, tmp_path_factory.mktemp("xml") / "all.osm")
    return source, osmnx.features_from_xml(xml), _FILES[request.param]


def test_the_whole_file_gives_what_osmnx_gives(compared):
    source, expected, _ = compared
    reading = read_features(describe_extract(source))
    _assert_same(reading, expected)
    _assert_tags(reading, expected)


def test_a_box_gives_what_osmnx_gives(compared):
    # osmnx reads all, mends it, and keeps what intersects; only that last step is done here.
    source, everything, box = compared
    reading = read_features(describe_extract(source), box)
    expected = everything[everything.intersects(shapely.box(*box))]
    assert 0 < len(expected) < len(everything)
    _assert_same(reading, expected)


def test_osmnx_itself_clips_as_we_do(osm_folder, tmp_path):
    source, box = osm_folder / "berlin-siegessaeule.osm.gz", _FILES["berlin-siegessaeule.osm.gz"]
    xml = write_as_xml(source, tmp_path / "all.osm")
    expected = osmnx.features_from_xml(xml, polygon=shapely.box(*box))
    _assert_same(read_features(describe_extract(source), box), expected)


@pytest.mark.parametrize("name", ["andorra.osm.pbf", "poa_osm.pbf", "liechtenstein-latest.osm.pbf"])
def test_the_other_files_are_read_whole(osm_folder, name):
    reading = read_features(describe_extract(osm_folder / name))
    assert len(reading.features) > 15_000
    assert shapely.is_valid(reading.features.geometries).all()
    assert not shapely.is_empty(reading.features.geometries).any()


def test_half_a_file_is_told_in_one_line(osm_folder, tmp_path):
    whole = (osm_folder / "liechtenstein-latest.osm.pbf").read_bytes()
    (tmp_path / "half.osm.pbf").write_bytes(whole[: len(whole) // 2])
    extract = describe_extract(tmp_path / "half.osm.pbf")
    with pytest.raises(DataError, match=r"half\.osm\.pbf cannot be read: .*; it is cut short") as caught:
        read_features(extract)
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_a_big_file_is_a_stream(osm_folder, tmp_path):
    once = osm_folder / "liechtenstein-latest.osm.pbf"
    times = repeat_pbf(once, tmp_path / "big.osm.pbf", at_least=60 << 20)
    area = (9.50, 47.13, 9.53, 47.15)
    small = measure_reading(once, area)
    big = measure_reading(tmp_path / "big.osm.pbf", area)
    assert times > 40
    assert big["found"] == small["found"] > 100
    assert big["anonymous"] < small["anonymous"] + 100, (small, big)


def test_a_country_takes_less_than_a_gibibyte(osm_folder):
    told = measure_reading(osm_folder / "liechtenstein-latest.osm.pbf", None)
    assert told["features"] == 19_963
    assert told["peak"] < 1024


def _assert_same(reading: OsmReading, expected: geopandas.GeoDataFrame) -> None:
    features = reading.features
    index = [(ELEMENTS[e], i) for e, i in zip(features.elements, features.ids.tolist(), strict=True)]
    assert set(index) == set(expected.index)
    assert len(set(index)) == len(index) == len(expected)
    theirs = expected.geometry.reindex(index).to_numpy()
    mixed = shapely.get_type_id(theirs) == shapely.GeometryType.GEOMETRYCOLLECTION
    assert mixed.sum() <= reading.repaired
    same = shapely.equals_exact(
        shapely.normalize(features.geometries), shapely.normalize(theirs), tolerance=0.0
    )
    assert (same | mixed).all(), [index[row] for row in np.flatnonzero(~(same | mixed))]


def _assert_tags(reading: OsmReading, expected: geopandas.GeoDataFrame) -> None:
    features = reading.features
    for row in range(0, len(features), 37):
        theirs = expected.loc[(ELEMENTS[features.elements[row]], int(features.ids[row]))].dropna()
        tags = {key: value for key, value in features.tags[row].items() if key in expected.columns}
        for key, value in tags.items():
            if key not in {"id", "type", "nodes", "geometry", "version", "timestamp", "user", "uid"}:
                assert theirs[key] == value
