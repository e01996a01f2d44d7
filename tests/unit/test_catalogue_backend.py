"""The SQLite catalogue: what it keeps, what it refuses, and that it loses nothing under several writers."""

import contextlib
import copy
import datetime as dt
import itertools
import json
import pickle
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from catalog.database import searching
from catalog.database.backend import ConflictError, SearchQuery, SortKey, SqliteCatalogue, UpsertResult
from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError, TransientError

ROOT = Path(__file__).resolve().parents[2]


def make_collection(name="scenes", bbox=(10, 50, 11, 51), interval=("2024-01-01T00:00:00Z", None)):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [{"rel": "license", "href": "https://example.org/licence"}],
        "extent": {"spatial": {"bbox": [list(bbox)]}, "temporal": {"interval": [list(interval)]}},
    }


def make_item(
    item_id, *, bbox=(10, 50, 11, 51), when="2024-05-01T10:00:00Z", collection="scenes", **properties
):
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bbox),
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": {},
    }


@pytest.fixture
def clock():
    """Tick one minute with every look."""
    ticks = itertools.count()
    return lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=next(ticks))


@pytest.fixture
def catalogue(tmp_path, clock):
    made = SqliteCatalogue(tmp_path / "catalogue.sqlite", now=clock)
    made.upsert_collection(make_collection())
    yield made
    made.close()


def find(catalogue, **query):
    return [item["id"] for item in catalogue.search(SearchQuery(limit=10_000, **query)).items]


class TestUpsert:
    def test_new_items_are_stamped_and_counted(self, catalogue):
        assert catalogue.upsert_items([make_item("a"), make_item("b")]) == UpsertResult(created=2)
        properties = catalogue.get_item("scenes", "a")["properties"]
        assert properties["created"] == properties["updated"] == "2026-01-01T00:00:00Z"

    def test_created_is_kept_and_updated_refreshed(self, catalogue):
        catalogue.upsert_items([make_item("a")])
        assert catalogue.upsert_items([make_item("a", title="new")]) == UpsertResult(updated=1)
        properties = catalogue.get_item("scenes", "a")["properties"]
        assert properties["created"] == "2026-01-01T00:00:00Z"
        assert properties["updated"] == "2026-01-01T00:01:00Z"
        assert properties["title"] == "new"

    def test_created_that_came_with_a_new_item_is_kept(self, catalogue):
        catalogue.upsert_items(
            [make_item("a", created="2020-02-02T00:00:00Z", updated="2020-02-03T00:00:00Z")]
        )
        properties = catalogue.get_item("scenes", "a")["properties"]
        assert properties["created"] == "2020-02-02T00:00:00Z"
        assert properties["updated"] == "2026-01-01T00:00:00Z"

    @pytest.mark.parametrize(
        "stamps", [{}, {"created": "2025-01-01T00:00:00Z", "updated": "2025-01-01T00:00:00Z"}]
    )
    def test_an_equal_item_is_not_written(self, catalogue, stamps):
        catalogue.upsert_items([make_item("a")])
        before = catalogue.get_item("scenes", "a")
        again = make_item("a", **stamps)
        again["links"] = [{"rel": "self", "href": "https://elsewhere.example.org/a"}]  # the server's business
        assert catalogue.upsert_items([again]) == UpsertResult(unchanged=1)
        assert catalogue.get_item("scenes", "a") == before

    def test_a_batch_is_all_or_nothing(self, catalogue):
        catalogue.upsert_items([make_item("a")])
        elsewhere = make_item("c", collection="absent")
        with pytest.raises(NotFoundError, match="'absent'"):
            catalogue.upsert_items([make_item("a", title="new"), make_item("b"), elsewhere])
        with pytest.raises(InputError, match="item 'd'"):
            catalogue.upsert_items([make_item("c"), {**make_item("d"), "type": "feature"}])
        with pytest.raises(ConflictError, match="'a' exists"):
            catalogue.upsert_items([make_item("z"), make_item("a", title="new")], mode="insert")
        with pytest.raises(NotFoundError, match="'y'"):
            catalogue.upsert_items([make_item("a", title="new"), make_item("y")], mode="replace")
        assert find(catalogue) == ["a"]
        assert "title" not in catalogue.get_item("scenes", "a")["properties"]

    def test_the_last_of_equal_ids_counts_once(self, catalogue):
        twice = [make_item("a", title="first"), make_item("a", title="last")]
        assert catalogue.upsert_items(twice) == UpsertResult(created=1)
        assert catalogue.get_item("scenes", "a")["properties"]["title"] == "last"

    def test_one_id_in_two_collections_is_two_items(self, catalogue):
        catalogue.upsert_collection(make_collection("osm"))
        catalogue.upsert_items([make_item("a"), make_item("a", collection="osm")])
        assert catalogue.count() == 2
        catalogue.delete_item("osm", "a")
        assert catalogue.get_item("scenes", "a")["collection"] == "scenes"

    def test_a_moved_item_is_found_where_it_is_now(self, catalogue):
        catalogue.upsert_items([make_item("a", bbox=(170, 0, 171, 1))])
        catalogue.upsert_items([make_item("a", bbox=(-50, 0, -49, 1), when="2020-01-01T00:00:00Z")])
        assert find(catalogue, bbox=(160, -5, 175, 5)) == []
        assert find(catalogue, bbox=(-60, -5, -40, 5), datetime="2020-01-01T00:00:00Z") == ["a"]

    def test_documents_come_back_as_they_went_in(self, catalogue):
        item = make_item("ä 水 🌍", note="line\nbreak", nested={"deep": [1, 2.5, None, True]})
        item["stac_extensions"], item["unknown:field"] = [], {"kept": "yes"}
        catalogue.upsert_items([item])
        stored = catalogue.get_item("scenes", "ä 水 🌍")
        del stored["properties"]["created"], stored["properties"]["updated"]
        assert stored == item

    def test_the_callers_item_is_left_alone(self, catalogue):
        item = make_item("a")
        before = copy.deepcopy(item)
        catalogue.upsert_items([item])
        assert item == before


class TestRefusals:
    @pytest.mark.parametrize(
        "item_id",
        ["", ".", "..", "a/b", "../b", "a\\b", "a\nb", "a\x00", "a\u2028b", "x" * 256, None, 7, "\ud800"],
    )
    def test_ids_unsafe_in_paths(self, catalogue, item_id):
        with pytest.raises(InputError, match="id") as caught:
            catalogue.upsert_items([make_item(item_id)])
        assert "\n" not in str(caught.value)
        with pytest.raises(InputError, match="id"):
            catalogue.upsert_collection(make_collection(item_id))

    def test_the_longest_id_passes(self, catalogue):
        catalogue.upsert_items([make_item("x" * 255), make_item("a..b c?d#e%f,g")])
        assert find(catalogue, ids=["a..b c?d#e%f,g"]) == ["a..b c?d#e%f,g"]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("type", "Point"),
            ("stac_version", None),
            ("properties", []),
            ("properties", {}),
            ("properties", {"datetime": None}),
            ("properties", {"datetime": "2024-05-01"}),
            ("properties", {"datetime": "2024-05-01T10:00:00"}),
            ("properties", {"datetime": "2024-02-30T10:00:00Z"}),
            ("properties", {"datetime": "0001-01-01T00:00:00+23:00"}),
            ("properties", {"datetime": None, "start_datetime": "2024-05-01T10:00:00Z"}),
            (
                "properties",
                {
                    "datetime": None,
                    "start_datetime": "2024-05-02T00:00:00Z",
                    "end_datetime": "2024-05-01T00:00:00Z",
                },
            ),
            ("properties", {"datetime": "2024-05-01T10:00:00Z", "created": "yesterday"}),
            ("properties", {"datetime": "2024-05-01T10:00:00Z", "gsd": float("nan")}),
            ("properties", {"datetime": "2024-05-01T10:00:00Z", "title": "\ud800"}),
            ("properties", {"datetime": "2024-05-01T10:00:00Z", "moment": dt.datetime(2024, 1, 1)}),
            ("links", None),
            ("links", ["self"]),
            ("links", [{"rel": "self"}]),
            ("assets", None),
            ("bbox", None),
            ("bbox", [1, 2, 3]),
            ("bbox", [1, 2, "3", 4]),
            ("bbox", [0, 10, 1, -10]),
            ("bbox", [0, 0, 181, 1]),
            ("geometry", "POINT (1 1)"),
            ("geometry", {"type": "Point"}),
            ("geometry", {"type": []}),
            ("geometry", {"type": "Point", "coordinates": []}),
            ("geometry", {"type": "Point", "coordinates": [float("inf"), 0]}),
            ("geometry", {"type": "Point", "coordinates": [200, 0]}),
            ("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}),
            (
                "geometry",
                {"type": "Polygon", "coordinates": [[["0", "0"], ["1", "1"], ["0", "1"], ["0", "0"]]]},
            ),
        ],
    )
    def test_malformed_items_are_named(self, catalogue, field, value):
        with pytest.raises(InputError, match="item 'broken'"):
            catalogue.upsert_items([make_item("fine"), {**make_item("broken"), field: value}])
        assert catalogue.count() == 0

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("type", "Catalog"),
            ("description", None),
            ("license", 3),
            ("links", {}),
            ("extent", {}),
            ("extent", {"spatial": {"bbox": [[0, 0]]}, "temporal": {"interval": [[None, None]]}}),
            ("extent", {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [["now", None]]}}),
        ],
    )
    def test_malformed_collections(self, catalogue, field, value):
        with pytest.raises(InputError, match="collection 'scenes'"):
            catalogue.upsert_collection({**make_collection(), field: value})

    def test_errors_travel_between_processes(self, catalogue):
        catalogue.upsert_items([make_item("a")])
        with pytest.raises(ConflictError) as caught:
            catalogue.upsert_items([make_item("a")], mode="insert")
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (ConflictError, str(caught.value))


class TestCollections:
    def test_extent_grows_with_items(self, catalogue):
        item = make_item("a", bbox=(5, 40, 10.5, 50.5), when="2023-01-01T00:00:00Z")
        catalogue.upsert_items([item, make_item("b", bbox=(10, 50, 12, 50.5))])
        extent = catalogue.get_collection("scenes")["extent"]
        assert extent["spatial"]["bbox"] == [[5, 40, 12, 51]]
        assert extent["temporal"]["interval"] == [["2023-01-01T00:00:00Z", None]]

    def test_declaring_it_again_changes_nothing(self, catalogue):
        catalogue.upsert_items([make_item("a", bbox=(5, 40, 6, 41))])
        before = catalogue.get_collection("scenes")
        assert catalogue.upsert_collection(make_collection()) is False
        assert catalogue.get_collection("scenes") == before

    def test_a_new_declaration_still_holds_the_items(self, catalogue):
        catalogue.upsert_items([make_item("a", bbox=(5, 40, 6, 41), when="2019-01-01T00:00:00Z")])
        assert catalogue.upsert_collection({**make_collection(bbox=(20, 50, 21, 51)), "title": "New"}) is True
        collection = catalogue.get_collection("scenes")
        assert collection["title"] == "New"
        assert collection["extent"]["spatial"]["bbox"] == [[5, 40, 21, 51]]
        assert collection["extent"]["temporal"]["interval"] == [["2019-01-01T00:00:00Z", None]]

    def test_an_extent_across_the_antimeridian_stays_narrow_while_it_holds(self, catalogue):
        catalogue.upsert_collection(make_collection("fiji", bbox=(170, -25, -170, -10)))
        inside = make_item("a", bbox=(175, -20, 176, -19), collection="fiji")
        catalogue.upsert_items([inside])
        assert catalogue.get_collection("fiji")["extent"]["spatial"]["bbox"] == [[170, -25, -170, -10]]
        catalogue.upsert_items([make_item("b", bbox=(10, 0, 11, 1), collection="fiji")])
        assert catalogue.get_collection("fiji")["extent"]["spatial"]["bbox"] == [[-180, -25, 180, 1]]

    def test_deleting_one_takes_its_items_along(self, catalogue):
        catalogue.upsert_collection(make_collection("osm"))
        catalogue.upsert_items([make_item("a"), make_item("b"), make_item("c", collection="osm")])
        assert catalogue.delete_collection("scenes") == 2
        assert find(catalogue, bbox=(-180, -90, 180, 90)) == ["c"]
        with sqlite3.connect(catalogue.path) as connection:
            counts = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("items", "documents", "items_rtree")
            ]
        connection.close()
        assert counts == [1, 1, 1]

    def test_what_does_not_exist(self, catalogue):
        for call in (
            lambda: catalogue.get_collection("x"),
            lambda: catalogue.get_item("x", "a"),
            lambda: catalogue.get_item("scenes", "a"),
            lambda: catalogue.delete_item("scenes", "a"),
            lambda: catalogue.delete_collection("x"),
            lambda: catalogue.patch_item("scenes", "a", {}),
            lambda: catalogue.write_collection(make_collection("x"), exists=True),
        ):
            with pytest.raises(NotFoundError):
                call()

    def test_patching(self, catalogue):
        catalogue.upsert_items([make_item("a", title="old", platform="s2")])
        catalogue.patch_item("scenes", "a", {"properties": {"title": "new", "platform": None}})
        properties = catalogue.get_item("scenes", "a")["properties"]
        assert (properties["title"], "platform" in properties) == ("new", False)
        with pytest.raises(InputError, match="cannot change the id"):
            catalogue.patch_item("scenes", "a", {"id": "b"})
        catalogue.patch_collection("scenes", {"title": "Scenes"})
        assert catalogue.get_collection("scenes")["title"] == "Scenes"


class TestFiles:
    def test_a_second_opening_sees_the_same(self, catalogue):
        catalogue.upsert_items([make_item("a")])
        again = SqliteCatalogue(catalogue.path)
        assert [c["id"] for c in again.get_collections()] == ["scenes"]
        assert find(again) == ["a"]
        again.close()

    def test_not_a_database(self, tmp_path):
        path = tmp_path / "notes.txt"
        path.write_text("no database at all, but long enough to look like one" * 40)
        with pytest.raises(ConfigError, match="not a catalogue"):
            SqliteCatalogue(path)

    def test_another_programs_database_is_left_alone(self, tmp_path):
        path = tmp_path / "other.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE birds (name TEXT)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(ConfigError, match="another program"):
            SqliteCatalogue(path)
        assert path.read_bytes() == before

    def test_a_newer_layout(self, catalogue):
        connection = sqlite3.connect(catalogue.path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(ConfigError, match="update Terraloom"):
            SqliteCatalogue(catalogue.path)

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="cannot be opened"):
            SqliteCatalogue(tmp_path / "file" / "catalogue.sqlite")

    def test_a_damaged_file(self, catalogue):
        catalogue.upsert_items(make_item(f"i{n}", note="x" * 500) for n in range(200))
        catalogue.close()
        data = bytearray(catalogue.path.read_bytes())
        data[4096 * 3 : -4096] = b"\xff" * (len(data) - 4096 * 4)
        catalogue.path.write_bytes(data)
        with pytest.raises(DataError, match="damaged"):
            find(catalogue, bbox=(0, 0, 90, 90))

    def test_a_writer_that_holds_the_file_too_long(self, tmp_path):
        path = tmp_path / "catalogue.sqlite"
        catalogue = SqliteCatalogue(path, wait_s=0.1)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="busy"):
            catalogue.upsert_collection(make_collection())
        assert catalogue.get_collections() == []  # readers are not held up
        blocker.execute("ROLLBACK")
        blocker.close()
        catalogue.upsert_collection(make_collection())
        catalogue.close()

    def test_a_full_disk(self, catalogue):
        with catalogue._connections.write() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(ConfigError, match="full"):
            catalogue.upsert_items(make_item(f"i{n}", note="x" * 5000) for n in range(50))
        assert catalogue.count() == 0


class TestSeveralWriters:
    def test_threads_and_a_process_lose_nothing(self, catalogue, tmp_path):
        """Three writers upsert overlapping ids while a reader pages: every answer is whole."""
        template = tmp_path / "item.json"
        template.write_text(json.dumps(make_item("ID")))
        script = (
            "import json, sys\n"
            "from catalog.database.backend import SqliteCatalogue\n"
            "item = json.loads(open(sys.argv[2]).read())\n"
            "catalogue = SqliteCatalogue(sys.argv[1])\n"
            "for batch in range(20):\n"
            "    catalogue.upsert_items([{**item, 'id': f'p{batch:02}-{n:02}'} for n in range(10)]\n"
            "                           + [{**item, 'id': f's{n:02}'} for n in range(10)])\n"
            "catalogue.close()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(catalogue.path), str(template)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
        )
        failures = []

        def write(name):
            try:
                for batch in range(20):
                    own = [make_item(f"{name}{batch:02}-{n:02}") for n in range(10)]
                    catalogue.upsert_items(own + [make_item(f"s{n:02}") for n in range(10)])
            except AppError as exc:
                failures.append(exc)

        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen = catalogue.count()
            assert seen % 10 == 0  # never half a batch
        for thread in threads:
            thread.join()
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, failures) == (0, []), errors
        assert catalogue.count() == 3 * 200 + 10

    def test_two_processes_make_one_new_file(self, tmp_path):
        script = (
            "import sys; from catalog.database.backend import SqliteCatalogue as S; S(sys.argv[1]).close()"
        )
        path = tmp_path / "new" / "catalogue.sqlite"
        processes = [
            subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT, stderr=subprocess.PIPE)
            for _ in range(3)
        ]
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
        catalogue = SqliteCatalogue(path)
        assert catalogue.get_collections() == []
        catalogue.close()


class TestOddInput:
    def test_a_coordinate_that_no_double_holds(self, catalogue):
        item = make_item("a")
        item["geometry"] = {
            "type": "Polygon",
            "coordinates": [[[0, 0], [10**400, 0], [1, 1], [0, 1], [0, 0]]],
        }
        with pytest.raises(InputError, match="item 'a': geometry is a malformed Polygon"):
            catalogue.upsert_items([make_item("b"), item])
        assert catalogue.count() == 0

    def test_more_property_names_than_are_kept_account_of(self, catalogue):
        item = make_item("a")
        item["properties"] |= {f"n{number}": 1 for number in range(1_001)}
        with pytest.raises(InputError, match="at most 1000 names"):
            catalogue.upsert_items([item])

    def test_beginnings_of_common_words_are_found_at_once(self, catalogue, monkeypatch):
        monkeypatch.setattr(searching, "CANDIDATES_CAP", 0)
        monkeypatch.setattr(searching, "_COMMON_HITS", 1)
        catalogue.upsert_items([make_item("alpha-1"), make_item("alpha-2")])
        for words in ("alph*", "alpha"):
            assert {item["id"] for item in catalogue.search(SearchQuery(q=[words])).items} == {
                "alpha-1",
                "alpha-2",
            }

    def test_a_long_order_in_any_script_has_a_next_page(self, catalogue):
        items = [make_item(f"{'é' * 200}{number}") for number in range(3)]
        for item in items:
            item["properties"] |= {"one": "\N{SNOWMAN}" * 150, "two": "\N{GRINNING FACE}" * 159}
        catalogue.upsert_items(items)
        keys = [SortKey(field="one"), SortKey(field="two"), SortKey(field="id")]
        page = catalogue.search(SearchQuery(sortby=keys, limit=2))
        rest = catalogue.search(SearchQuery(sortby=keys, limit=2, token=page.next_token))
        assert [item["id"] for item in page.items + rest.items] == [item["id"] for item in items]

    def test_a_collection_nested_deeply_is_taken_or_refused(self, catalogue):
        nested: object = 1
        for _ in range(700):
            nested = [nested]
        with contextlib.suppress(InputError):
            catalogue.upsert_collection({**make_collection("deep"), "nested": nested})
        assert catalogue.count() == 0
