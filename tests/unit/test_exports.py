"""Exports: what goes out as stac-geoparquet comes back member for member; and the commands for it."""

import json
import subprocess
import sys
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import stac_geoparquet.arrow
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.client import EmbeddedClient, SearchQuery
from catalog.exports.columns import EXACT
from catalog.exports.geoparquet import open_geoparquet, write_geoparquet
from catalog.server.app import create_app, serving
from flows.cli import run
from infra.errors import ConfigError, DataError, InputError

ROOT = Path(__file__).resolve().parents[2]


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


def there_and_back(folder, items):
    written = write_geoparquet(items, folder / "items.parquet")
    return written, list(open_geoparquet(written.path).items())


# One long text among short ones, and so on: every kind of value at every place.
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 1e300, 10**400]),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(
        ["", "水 🌍", "null", "\0", "2024-05-01T10:00:00Z", "2024-05-01", "NaN", "terraloom:exact"]
    ),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
NAMES = st.one_of(
    TEXTS,
    st.sampled_from(
        ["a", "b", "eo:cloud_cover", "id", "bbox", "geometry", "links", "proj:geometry", "a.b", "properties"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
MOMENTS = st.sampled_from(
    [
        "2024-05-01T10:00:00Z",
        "2024-05-01T10:00:00.000000Z",
        "2024-05-01T10:00:00.5Z",
        "2024-05-01T10:00:00.123456789Z",
        "2024-05-01t10:00:00z",
        "2024-05-01T10:00:00+02:00",
        "2016-12-31T23:59:60Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1677-09-21T00:12:43Z",
        "1969-12-31T23:59:59.999999Z",
    ]
)
GEOMETRIES = st.sampled_from(
    [
        None,
        {"type": "Point", "coordinates": [1.5, 2.5]},
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Point", "coordinates": [1.5, 2.5, 300.0]},
        {"type": "Point", "coordinates": [1.5, 2.5, 3.0, 4.0]},
        {"type": "Point", "coordinates": [-0.0, 0.1 + 0.2], "crs": {"type": "name"}},
        {"type": "LineString", "coordinates": [[179.5, -17.0, 10.0], [-179.5, -17.0, 11.0]]},
        {
            "type": "MultiPolygon",
            "coordinates": [
                [[[179.0, 0.0], [180.0, 0.0], [180.0, 1.0], [179.0, 0.0]]],
                [[[-180.0, 0.0], [-179.0, 0.0], [-180.0, 1.0], [-180.0, 0.0]]],
            ],
        },
        {"type": "Polygon", "coordinates": [[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]]},
        {"type": "Polygon", "coordinates": []},
        {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Point", "coordinates": [0.1, 1e-7]},
                {"type": "MultiPoint", "coordinates": []},
            ],
        },
    ]
)
BOXES = st.sampled_from(
    [[0.5, 1.5, 2.5, 3.5], [0, 1, 2, 3], [179.5, -18.0, -179.5, -17.0], [0.5, 1.5, -10.0, 2.5, 3.5, 8848.86]]
)


@st.composite
def stac_items(draw):
    item = {
        "type": "Feature",
        "stac_version": draw(st.sampled_from(["1.0.0", "1.1.0"])),
        "id": draw(TEXTS),
        "geometry": draw(GEOMETRIES),
        "properties": draw(st.dictionaries(NAMES, VALUES, max_size=4)),
        "links": draw(
            st.lists(
                st.fixed_dictionaries(
                    {"rel": TEXTS, "href": TEXTS}, optional={"title": VALUES, "method": TEXTS}
                ),
                max_size=2,
            )
        ),
        "assets": draw(
            st.dictionaries(
                NAMES,
                st.fixed_dictionaries(
                    {"href": TEXTS}, optional={"roles": st.lists(TEXTS, max_size=2), "x": VALUES}
                ),
                max_size=3,
            )
        ),
    }
    item["properties"]["datetime"] = draw(MOMENTS | st.none())
    for name in ("created", "start_datetime", "published"):
        if draw(st.booleans()):
            item["properties"][name] = draw(MOMENTS | SCALARS)
    for name, values in [
        ("bbox", BOXES | st.none() | st.just("none")),
        ("collection", TEXTS),
        ("stac_extensions", st.lists(TEXTS, max_size=2) | st.just([1])),
        ("foreign:member", VALUES),
        (EXACT, TEXTS),
    ]:
        if draw(st.booleans()):
            item[name] = draw(values)
    if draw(st.booleans()):
        item["properties"]["proj:geometry"] = draw(GEOMETRIES)
    return item


class TestThereAndBack:
    @given(items=st.lists(stac_items(), max_size=6))
    def test_whatever_items_hold(self, tmp_path_factory, items):
        _, read = there_and_back(tmp_path_factory.mktemp("odd"), items)
        assert spell(read) == spell(items)

    @given(items=st.lists(stac_items(), min_size=3, max_size=9))
    @settings(max_examples=20)
    def test_over_several_batches(self, tmp_path_factory, items):
        """A later batch holds what the first has not: the columns must hold both."""
        folder = tmp_path_factory.mktemp("odd")
        written = write_geoparquet(items, folder / "items.parquet", batch_items=2)
        assert spell(open_geoparquet(written.path).items()) == spell(items)

    def test_ordinary_items_need_no_notes(self, tmp_path):
        items = [
            make_item(f"i{n}", west=n + 0.25, platform="s2", **{"eo:cloud_cover": n / 7, "gsd": 10})
            for n in range(50)
        ]
        written, read = there_and_back(tmp_path, items)
        assert spell(read) == spell(items)
        assert (written.items, written.noted) == (50, 0)

    @pytest.mark.parametrize(
        ("odd", "note"),
        [
            ({"eo:cloud_cover": 0}, [[["properties", "eo:cloud_cover"], 0]]),
            ({"eo:cloud_cover": "none"}, [[["properties", "eo:cloud_cover"], "none"]]),
            ({"eo:cloud_cover": None}, [[["properties", "eo:cloud_cover"], None]]),
            (
                {"datetime": "2024-05-01T10:00:00.0Z"},
                [[["properties", "datetime"], "2024-05-01T10:00:00.0Z"]],
            ),
            ({"id": "another"}, [[["properties", "id"], "another"]]),
        ],
    )
    def test_one_odd_value_spoils_no_column(self, tmp_path, odd, note):
        items = [make_item(f"i{n}", **{"eo:cloud_cover": n + 0.5}) for n in range(5)]
        items[3]["properties"].update(odd)
        written, read = there_and_back(tmp_path, items)
        assert spell(read) == spell(items)
        assert written.noted == 1
        table = pq.read_table(written.path)
        assert table.schema.field("eo:cloud_cover").type == pa.float64()
        assert table.column("eo:cloud_cover").to_pylist()[:3] == [0.5, 1.5, 2.5]
        assert json.loads(table.column(EXACT)[3].as_py()) == note

    def test_no_items_at_all(self, tmp_path):
        written, read = there_and_back(tmp_path, [])
        assert (written.items, read) == (0, [])

    def test_more_names_than_a_table_should_have_columns(self, tmp_path):
        items = [make_item(f"i{n}", **{f"p{n}-{k}": k for k in range(300)}) for n in range(12)]
        written, read = there_and_back(tmp_path, items)
        assert spell(read) == spell(items)
        assert written.columns < 2_100

    def test_values_nested_deeper_than_columns_go(self, tmp_path):
        nested = 1
        for _ in range(60):
            nested = {"in": [nested]}
        items = [make_item(deep=nested)]
        _, read = there_and_back(tmp_path, items)
        assert spell(read) == spell(items)

    def test_collections_travel_along(self, tmp_path):
        collections = [{"id": "scenes", "title": "水", "summaries": {"gsd": [10]}}, {"id": "osm"}]
        written = write_geoparquet([make_item()], tmp_path / "x.parquet", collections=collections)
        assert list(open_geoparquet(written.path).collections.values()) == collections

    def test_memory_does_not_grow_with_the_number_of_items(self, tmp_path):
        """Twelve thousand more items must not be in memory at once: they would take 20 MB."""
        script = (
            "import resource, sys\n"
            "from pathlib import Path\n"
            "from catalog.exports.geoparquet import open_geoparquet, write_geoparquet\n"
            "items = ({'type': 'Feature', 'stac_version': '1.1.0', 'id': str(n), 'geometry': None,\n"
            "          'properties': {'datetime': '2024-05-01T10:00:00Z', 'note': f'{n:0900}', 'n': n},\n"
            "          'links': [], 'assets': {}} for n in range(int(sys.argv[1])))\n"
            "path = write_geoparquet(items, Path(sys.argv[2]), batch_items=500).path\n"
            "assert sum(1 for _ in open_geoparquet(path).items()) == int(sys.argv[1])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        peaks_kib = [
            int(
                subprocess.run(
                    [sys.executable, "-c", script, str(count), str(tmp_path / "x.parquet")],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for count in (2_000, 14_000)
        ]
        assert peaks_kib[1] - peaks_kib[0] < 8_000


class TestOtherPrograms:
    def test_stac_geoparquet_reads_ours(self, tmp_path):
        items = [make_item(f"i{n}", west=n + 0.5, gsd=10, platform="s2") for n in range(3)]
        written = write_geoparquet(items, tmp_path / "x.parquet", collections=[{"id": "scenes"}])
        read = list(stac_geoparquet.arrow.stac_table_to_items(pq.read_table(written.path)))
        for theirs, item in zip(read, items, strict=True):
            assert theirs["properties"]["datetime"].startswith("2024-05-01T10:00:00")
            assert theirs["properties"]["gsd"] == 10
            assert {key: theirs[key] for key in ("id", "geometry", "bbox", "collection")} == {
                key: item[key] for key in ("id", "geometry", "bbox", "collection")
            }
            assert theirs["assets"]["data"]["href"] == "/data/a.tif"

    def test_we_read_stac_geoparquets(self, tmp_path):
        items = [make_item(f"i{n}", west=n + 0.5, gsd=10, platform="s2") for n in range(3)]
        items[1]["assets"]["more"] = {"href": "/more.tif"}
        path = tmp_path / "theirs.parquet"
        reader = stac_geoparquet.arrow.parse_stac_items_to_arrow(items)
        stac_geoparquet.arrow.to_parquet(reader, path, collections={"scenes": {"id": "scenes", "title": "T"}})
        file = open_geoparquet(path)
        assert file.collections == {"scenes": {"id": "scenes", "title": "T"}}
        assert spell(file.items()) == spell(items)

    def test_geopandas_finds_the_shapes(self, tmp_path):
        items = [make_item("a"), {**make_item("b"), "geometry": None}, make_item("c", west=20.5)]
        frame = geopandas.read_parquet(write_geoparquet(items, tmp_path / "x.parquet").path)
        assert frame.crs.to_epsg() is None or frame.crs.to_epsg() == 4326
        assert [None if each is None else each.bounds[0] for each in frame.geometry] == [10.5, None, 20.5]
        assert str(frame["datetime"].dt.tz) == "UTC"
        within = geopandas.read_parquet(tmp_path / "x.parquet", bbox=(20, 50, 21, 51))
        assert list(within["id"]) == ["c"]

    def test_the_head_says_what_geometries_there_are(self, tmp_path):
        items = [
            make_item("a"),
            {**make_item("b"), "geometry": {"type": "Point", "coordinates": [1.5, 2.5, 3.5]}},
        ]
        path = write_geoparquet(items, tmp_path / "x.parquet").path
        head = json.loads(pq.read_schema(path).metadata[b"geo"])
        assert head["columns"]["geometry"]["geometry_types"] == ["Point Z", "Polygon"]


class TestFilesThatAreNoneOfOurs:
    def test_absent(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            open_geoparquet(tmp_path / "none.parquet")

    def test_not_parquet(self, tmp_path):
        (tmp_path / "x.parquet").write_text("no Parquet at all")
        with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
            open_geoparquet(tmp_path / "x.parquet")
        assert "\n" not in caught.value.message

    def test_other_columns(self, tmp_path):
        pq.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
        with pytest.raises(InputError, match="id and geometry"):
            open_geoparquet(tmp_path / "x.parquet")

    def test_damaged_in_the_middle(self, tmp_path):
        path = write_geoparquet([make_item(f"i{n}") for n in range(2000)], tmp_path / "x.parquet").path
        data = bytearray(path.read_bytes())
        data[100 : len(data) // 2] = b"\x7f" * (len(data) // 2 - 100)
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged"):
            list(open_geoparquet(path).items())

    @pytest.mark.parametrize(
        "note", ["{", "[[[]]]", "[1]", '[[["id", "x"], 1, 2]]', '[[["id","x"],1]]', "[" * 100_000]
    )
    def test_notes_that_make_no_sense(self, tmp_path, note):
        path = write_geoparquet([make_item()], tmp_path / "x.parquet").path
        table = pq.read_table(path)
        position = table.schema.get_field_index(EXACT)
        pq.write_table(table.set_column(position, EXACT, pa.array([note])), path)
        with pytest.raises(DataError, match="malformed") as caught:
            list(open_geoparquet(path).items())
        assert len(caught.value.message) < 400

    def test_geometries_that_are_no_wkb(self, tmp_path):
        pq.write_table(pa.table({"id": ["a"], "geometry": [b"\x09nonsense"]}), tmp_path / "x.parquet")
        with pytest.raises(DataError, match="WKB"):
            list(open_geoparquet(tmp_path / "x.parquet").items())


class TestPlaces:
    def test_an_older_file_is_replaced_whole_or_not_at_all(self, tmp_path):
        path = write_geoparquet([make_item("old")], tmp_path / "x.parquet").path

        def breaking_off():
            yield make_item("new")
            raise DataError("the catalogue went away")

        with pytest.raises(DataError, match="went away"):
            write_geoparquet(breaking_off(), path)
        assert [item["id"] for item in open_geoparquet(path).items()] == ["old"]
        write_geoparquet([make_item("new")], path)
        assert [item["id"] for item in open_geoparquet(path).items()] == ["new"]
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="file"):
            write_geoparquet([], tmp_path / "file" / "x.parquet")

    def test_an_item_that_json_cannot_spell(self, tmp_path):
        with pytest.raises(DataError, match="'bad'"):
            write_geoparquet([make_item("bad", title="\ud800")], tmp_path / "x.parquet")
        assert list(tmp_path.iterdir()) == []


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


class TestCommands:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    @pytest.fixture
    def store(self, tmp_path):
        with EmbeddedClient(tmp_path / "store" / "catalogue.sqlite") as client:
            client.upsert_collection(make_collection())
            client.upsert_collection(make_collection("osm"))
            client.upsert_items([make_item(f"i{n}", west=n + 0.5) for n in range(5)])
            client.upsert_items([{**make_item("o", title="map"), "collection": "osm"}])
        return tmp_path / "store"

    def items_in(self, store):
        with EmbeddedClient(store / "catalogue.sqlite") as client:
            found = list(client.search(SearchQuery()))
        for item in found:
            item["properties"].pop("updated")
        return found

    def test_out_and_into_another_store(self, store, tmp_path, capsys):
        assert run(["catalogue", "export", "all.parquet", "--store", str(store)]) == 0
        assert "6 items" in capsys.readouterr().out
        words = ["catalogue", "import", "all.parquet", "--store", str(tmp_path / "other")]
        (tmp_path / "other").mkdir()
        assert run(words) == 0
        assert capsys.readouterr().out == "all.parquet: 6 items created, 0 updated, 0 unchanged\n"
        assert self.items_in(tmp_path / "other") == self.items_in(store)
        assert run(words) == 0
        assert "0 items created, 0 updated, 6 unchanged" in capsys.readouterr().out

    def test_over_an_api(self, store, tmp_path, monkeypatch):
        """Taken out over HTTP, and put into another API: the links of the servers stay behind."""
        target = tmp_path / "other" / "catalogue.sqlite"
        with serving(create_app(store / "catalogue.sqlite", token=None)) as url:
            monkeypatch.setenv("TERRALOOM_CATALOGUE__URI", url)
            assert run(["catalogue", "export", "all.parquet"]) == 0
        with serving(create_app(target, token="s3cret")) as url:
            monkeypatch.setenv("TERRALOOM_CATALOGUE__URI", url)
            monkeypatch.setenv("TERRALOOM_CATALOGUE__TOKEN", "s3cret")
            assert run(["catalogue", "import", "all.parquet"]) == 0
        assert self.items_in(tmp_path / "other") == self.items_in(store)

    def test_one_collection(self, store, tmp_path, capsys):
        words = ["--store", str(store), "--collections", "osm"]
        assert run(["catalogue", "export", "osm.parquet", *words]) == 0
        assert [item["id"] for item in open_geoparquet(tmp_path / "osm.parquet").items()] == ["o"]
        assert run(["catalogue", "static", "tree", *words]) == 0
        assert sorted(path.relative_to("tree").as_posix() for path in Path("tree").rglob("*.json")) == [
            "catalog.json",
            "osm/collection.json",
            "osm/o/o.json",
        ]
        capsys.readouterr()
        assert run(["catalogue", "export", "x.parquet", "--store", str(store), "--collections", "none"]) == 2
        assert "there are: osm, scenes" in capsys.readouterr().err

    def test_items_of_a_collection_that_nobody_knows(self, store, tmp_path, capsys):
        write_geoparquet([{**make_item("x"), "collection": "unheard-of"}], tmp_path / "x.parquet")
        assert run(["catalogue", "import", "x.parquet", "--store", str(store)]) == 2
        assert "unheard-of" in capsys.readouterr().err

    def test_a_wrong_choice_of_assets(self, store, capsys):
        assert run(["catalogue", "static", "tree", "--store", str(store), "--assets", "steal"]) == 2
        assert "'steal'" in capsys.readouterr().err
