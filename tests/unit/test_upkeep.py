"""Upkeep: a backup is whole whatever is written meanwhile, and a check finds what is spoilt."""

import contextlib
import shutil
import sqlite3
import threading

import pytest

from catalog.database.backend import SqliteCatalogue
from catalog.database.filters import SearchQuery, SortKey
from catalog.database.upkeep import back_up, check, repair
from flows.cli import run
from infra.errors import ConfigError, DataError, InputError, TransientError
from tests.support.many_items import collection_of, many_items

KEEPERS = ("items", "documents", "collections")


def make_collection(name="scenes"):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": f"All {name}",
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[10, 50, 11, 51]]}, "temporal": {"interval": [[None, None]]}},
    }


def make_item(item_id, *, west=10.0, east=11.0, when="2024-05-01T10:00:00Z", **properties):
    ring = [[west, 50], [east, 50], [east, 51], [west, 51], [west, 50]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    if west > east:
        first = [[west, 50], [180, 50], [180, 51], [west, 51], [west, 50]]
        second = [[-180, 50], [east, 50], [east, 51], [-180, 51], [-180, 50]]
        shape = {"type": "MultiPolygon", "coordinates": [[first], [second]]}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": "scenes",
        "geometry": shape,
        "bbox": [west, 50, east, 51],
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": {},
    }


@pytest.fixture
def catalogue(tmp_path):
    """Hold ordinary items, one across the antimeridian, and one without geometry."""
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    catalogue.upsert_collection(make_collection())
    catalogue.upsert_collection(make_collection("empty"))
    catalogue.upsert_items(
        make_item(
            f"i{n:02}", west=n + 0.1, east=n + 1.3, platform="s2", note=None if n % 2 else "odd", n=n / 3
        )
        for n in range(20)
    )
    catalogue.upsert_items(
        [make_item("fiji", west=179.3, east=-179.2), {**make_item("nowhere"), "geometry": None}]
    )
    catalogue.upsert_items([make_item("i03", west=3.1, east=4.3, platform="s1", n=99)])
    catalogue.delete_item("scenes", "i07")
    yield catalogue
    catalogue.close()


def spoil(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


class TestCheck:
    def test_a_sound_catalogue(self, catalogue):
        found = check(catalogue.path)
        assert (found.faults, found.items, found.collections) == ((), 21, 2)

    def test_an_empty_one(self, tmp_path):
        SqliteCatalogue(tmp_path / "new.sqlite").close()
        assert check(tmp_path / "new.sqlite").faults == ()

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("DELETE FROM documents WHERE rowid = 3", "no document, 'i02'"),
            ("INSERT INTO documents SELECT 999, json FROM documents LIMIT 1", "belong to no item"),
            ("DELETE FROM items_rtree WHERE key = 8", "spatial index looks for them, 'i03'"),
            ("DELETE FROM items_rtree WHERE key % 2 = 1", "spatial index looks for them, 'fiji'"),
            (
                "UPDATE items_rtree SET west = 100, east = 101 WHERE key = 8",
                "spatial index looks for them, 'i03'",
            ),
            ("UPDATE items_rtree SET first_day = 1, last_day = 2 WHERE key = 8", "spatial index looks"),
            ("INSERT INTO items_rtree VALUES (5000, 0, 1, 0, 1, 0, 1)", "entry 5000"),
            ("INSERT INTO items_rtree VALUES (9, 0, 1, 0, 1, 0, 1)", "entry 9"),
            ("DELETE FROM item_values WHERE rowid = 4", "no row of values, 'i03'"),
            ("INSERT INTO item_values (rowid) VALUES (999)", "rows of values belong to no item"),
            ("DELETE FROM item_texts WHERE rowid = 4", "no text, 'i03'"),
            ("INSERT INTO item_texts (rowid, text) VALUES (999, 'x')", "texts belong to no item"),
            ("DELETE FROM collection_texts WHERE id = 'empty'", "collections have no text, 'empty'"),
            ("UPDATE item_counts SET items = items + 1 WHERE collection = 'scenes'", "wrongly, 'scenes'"),
            ("UPDATE items SET digest = 'x' WHERE id = 'i03'", "item 'i03' of 'scenes': its row"),
            ("UPDATE items SET start_us = start_us + 1 WHERE id = 'i03'", "its row is not what"),
            (
                "UPDATE documents SET json = '{}' WHERE rowid = 4",
                "'i03' of 'scenes': its document is malformed",
            ),
            ("UPDATE documents SET json = '{' WHERE rowid = 4", "its document is malformed"),
            (
                "UPDATE documents SET json = json_set(json, '$.properties.n', 'other') WHERE rowid = 4",
                "its row is not what",
            ),
            ("UPDATE property_kinds SET kinds = 0 WHERE name = 'platform'", "'platform' is of kind TEXT"),
        ],
    )
    def test_each_thing_that_can_go_wrong(self, catalogue, statement, words):
        spoil(catalogue.path, statement)
        faults = check(catalogue.path).faults
        assert any(words in fault for fault in faults), faults

    def test_a_value_that_is_not_the_documents(self, catalogue):
        with contextlib.closing(sqlite3.connect(catalogue.path)) as connection:
            slots = dict(connection.execute("SELECT name, slot FROM properties"))
        spoil(catalogue.path, f"UPDATE item_values SET p{slots['platform']} = 's9' WHERE rowid = 4")
        (fault,) = check(catalogue.path).faults
        assert fault == "item 'i03' of 'scenes': its value of 'platform' is not what its document says"
        spoil(
            catalogue.path,
            f"UPDATE item_values SET p{slots['platform']} = 's1', p{slots['note']} = 'x' WHERE rowid = 4",
        )
        (fault,) = check(catalogue.path).faults
        assert "has values that its document has not" in fault

    def test_a_reference_to_nothing(self, catalogue):
        spoil(catalogue.path, "UPDATE items SET collection = 'gone' WHERE id = 'i03'")
        assert any("collections that does not exist" in fault for fault in check(catalogue.path).faults)

    def test_many_faults_do_not_make_many_lines(self, catalogue):
        catalogue.upsert_items(make_item(f"m{n}") for n in range(200))
        spoil(catalogue.path, "UPDATE items SET digest = 'x'")
        assert len(check(catalogue.path).faults) == 20

    def test_damaged_pages(self, catalogue):
        catalogue.upsert_items(make_item(f"m{n:03}", title="x" * 900) for n in range(300))
        catalogue.close()
        spoil(catalogue.path, "PRAGMA wal_checkpoint(TRUNCATE)")
        data = bytearray(catalogue.path.read_bytes())
        middle = len(data) // 2 // 8192 * 8192
        data[middle : middle + 8192 * 6] = b"\xff" * (8192 * 6)
        catalogue.path.write_bytes(data)
        for suffix in ("-wal", "-shm"):
            catalogue.path.with_name(catalogue.path.name + suffix).unlink(missing_ok=True)
        with contextlib.suppress(DataError):  # as bad as that, depending on where the noise fell
            assert check(catalogue.path).faults
        with pytest.raises(DataError, match="damaged"):
            back_up(catalogue.path, catalogue.path.with_name("copy.sqlite"))
        assert [path.name for path in catalogue.path.parent.iterdir() if "copy" in path.name] == []

    def test_nothing_is_written(self, catalogue):
        catalogue.close()
        before = catalogue.path.read_bytes()
        check(catalogue.path)
        assert catalogue.path.read_bytes() == before


class TestRepair:
    def test_all_that_follows_from_the_documents_is_made_anew(self, catalogue):
        def answers():
            return [
                [item["id"] for item in catalogue.search(SearchQuery(limit=100, **asked)).items]
                for asked in (
                    {},
                    {"bbox": [3, 50, 4, 51]},
                    {"bbox": [170, 50, -170, 51]},
                    {"filter": {"op": "=", "args": [{"property": "platform"}, "s1"]}},
                    {"q": ["s1"]},
                )
            ]

        before = answers()
        assert all(before)
        spoil(
            catalogue.path,
            "DELETE FROM items_rtree WHERE key < 20",
            "INSERT INTO items_rtree VALUES (5000, 0, 1, 0, 1, 0, 1)",
            "DELETE FROM item_values WHERE rowid > 5",
            "DELETE FROM item_texts",
            "INSERT INTO item_texts (rowid, text) VALUES (999, 'x')",
            "DELETE FROM collection_texts",
            "DELETE FROM property_kinds",
            "DELETE FROM item_counts",
        )
        assert len(check(catalogue.path).faults) > 5
        repair(catalogue.path)
        assert check(catalogue.path).faults == ()
        assert answers() == before

    def test_what_is_lost_is_not_made_up(self, catalogue):
        spoil(catalogue.path, "DELETE FROM documents WHERE rowid = 3", "DELETE FROM items_rtree")
        repair(catalogue.path)
        faults = check(catalogue.path).faults
        assert any("no document, 'i02'" in fault for fault in faults)
        assert not any("spatial" in fault for fault in faults)

    def test_a_writer_at_work(self, catalogue, monkeypatch):
        monkeypatch.setattr("catalog.database.upkeep._WAIT_S", 0.1)
        with contextlib.closing(sqlite3.connect(catalogue.path, isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            with pytest.raises(TransientError, match="busy"):
                repair(catalogue.path)


class TestBackup:
    def test_the_copy_is_a_catalogue_of_its_own(self, catalogue, tmp_path):
        saved = back_up(catalogue.path, tmp_path / "deep" / "copy.sqlite")
        assert (saved.items, saved.collections, saved.size) == (21, 2, saved.path.stat().st_size)
        assert [path.name for path in saved.path.parent.iterdir()] == ["copy.sqlite"]
        assert check(saved.path).faults == ()
        moved = SqliteCatalogue(shutil.copy(saved.path, tmp_path / "restored.sqlite"))
        asked = SearchQuery(limit=100)
        assert moved.search(asked).items == catalogue.search(asked).items
        moved.upsert_items([make_item("new")])
        moved.close()
        assert catalogue.count() == 21

    def test_of_one_moment_while_others_write(self, catalogue, tmp_path):
        """A writer adds ten items at a time: no copy may hold part of a ten, and none may hold it up."""
        stop = threading.Event()
        batches = []

        def write():
            while not stop.is_set():
                name = f"b{len(batches):04}"
                catalogue.upsert_items(make_item(f"{name}-{n}", title="x" * 2000) for n in range(10))
                batches.append(name)
                stop.wait(0.02)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            sizes = []
            seen = 0
            while seen < 8 and writer.is_alive():
                seen = len(batches)
                saved = back_up(catalogue.path, tmp_path / f"{len(sizes)}.sqlite")
                assert (saved.items - 21) % 10 == 0
                assert saved.items - 21 >= 10 * seen  # all that was committed before it began
                sizes.append(saved.items)
        finally:
            stop.set()
            writer.join()
        assert sizes[-1] > sizes[0]
        assert check(saved.path).faults == ()
        assert catalogue.count() == 21 + 10 * len(batches)

    def test_it_replaces_nothing(self, catalogue, tmp_path):
        for target in (catalogue.path, tmp_path):
            with pytest.raises(InputError, match="exists"):
                back_up(catalogue.path, target)

    @pytest.mark.parametrize("content", [b"", b"no database, but long enough to look like one" * 100])
    def test_what_is_no_catalogue(self, tmp_path, content):
        (tmp_path / "x").write_bytes(content)
        for call in (check, repair, lambda path: back_up(path, tmp_path / "copy")):
            with pytest.raises(ConfigError):
                call(tmp_path / "x")
        assert not (tmp_path / "copy").exists()
        assert (tmp_path / "x").read_bytes() == content

    def test_what_is_not_there(self, tmp_path):
        for call in (check, repair, lambda path: back_up(path, tmp_path / "copy")):
            with pytest.raises(ConfigError, match="there is no catalogue"):
                call(tmp_path / "none")
        assert list(tmp_path.iterdir()) == []

    def test_a_newer_layout_is_saved_but_not_judged(self, catalogue, tmp_path):
        spoil(catalogue.path, "PRAGMA user_version = 99")
        with pytest.raises(ConfigError, match="update Terraloom"):
            check(catalogue.path)
        assert back_up(catalogue.path, tmp_path / "copy").items == 21

    def test_a_place_that_cannot_be_written(self, catalogue, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="name another place"):
            back_up(catalogue.path, tmp_path / "file" / "copy")


class TestCommands:
    @pytest.fixture(autouse=True)
    def _bare(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    def test_check_and_repair(self, catalogue, tmp_path, capsys):
        words = ["catalogue", "check", "--store", str(tmp_path)]
        assert run(words) == 0
        assert capsys.readouterr().out == f"{catalogue.path}: sound; 21 items in 2 collections\n"
        spoil(catalogue.path, "DELETE FROM items_rtree")
        assert run(words) == 2
        out = capsys.readouterr().out.splitlines()
        assert out[0].startswith("fault: 20 items are not where the spatial index")
        assert out[-1].endswith("1 faults; 21 items in 2 collections")
        assert run([*words, "--repair"]) == 0
        assert "sound" in capsys.readouterr().out

    def test_backup(self, catalogue, tmp_path, capsys):
        words = ["catalogue", "backup", "copy.sqlite", "--store", str(tmp_path)]
        assert run(words) == 0
        assert "21 items in 2 collections" in capsys.readouterr().out
        assert run(words) == 2
        assert "exists" in capsys.readouterr().err

    def test_a_store_without_a_catalogue(self, tmp_path, capsys):
        for words in (["check"], ["backup", "x"], ["export", "x"], ["static", "x"]):
            assert run(["catalogue", *words, "--store", str(tmp_path / "none")]) == 2
            assert len(capsys.readouterr().err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


def test_repair_gives_back_the_columns_of_names_that_nothing_has(tmp_path):
    catalogue = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    catalogue.upsert_collection(collection_of("optical"))
    item = next(each for each in many_items(20) if each["collection"] == "optical")
    many = {**item, "properties": item["properties"] | {f"n{number}": 1 for number in range(400)}}
    catalogue.upsert_items([many])
    late = {**item, "properties": {**item["properties"], "late": 5}}
    catalogue.upsert_items([late])
    with pytest.raises(InputError, match="not kept for sorting"):
        catalogue.search(SearchQuery(sortby=[SortKey(field="late")]))
    catalogue.close()
    repair(tmp_path / "catalogue.sqlite")
    again = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    assert len(again.search(SearchQuery(sortby=[SortKey(field="late")])).items) == 1
    again.close()
    assert check(tmp_path / "catalogue.sqlite").faults == ()
