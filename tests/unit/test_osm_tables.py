"""OpenStreetMap tables: GeoParquet that others open, boxes that read little, files that cannot be trusted."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from catalog.osm.records import OsmFeatures, QuarantinedFeature
from catalog.osm.tables.features import (
    COLUMNS,
    features_to_geodataframe,
    find_row_groups,
    read_features_table,
    write_features,
)
from catalog.osm.tables.quarantine import read_quarantine, write_quarantine
from infra.errors import ConfigError, DataError, InputError, NotFoundError

N_TOWN = 3000


def features_of(geometries: list[shapely.Geometry], **more: Any) -> OsmFeatures:
    count = len(geometries)
    tags = more.get("tags") or tuple({"building": "yes", "name": f"Haus {i}"} for i in range(count))
    times = np.array(["2020-02-03T04:05:06"] * count, "datetime64[s]")
    times[::3] = np.datetime64("NaT")
    return OsmFeatures(
        elements=np.sort(np.arange(count) % 3).astype(np.uint8),
        ids=np.arange(1, count + 1, dtype=np.int64),
        geometries=np.array(geometries, dtype=object),
        tags=tags,
        timestamps=times,
    )


def town(rng: np.random.Generator, borders: int = 40) -> OsmFeatures:
    """Small houses over a square degree, and borders across it strewn among them."""
    corners = rng.uniform([9, 47], [10, 48], (N_TOWN, 2))
    houses = [shapely.box(x, y, x + 1e-4, y + 1e-4) for x, y in corners]
    for row in rng.choice(N_TOWN, borders, replace=False):
        x, y = rng.uniform(0, 0.4, 2)
        houses[row] = shapely.LineString([(9 + x, 47 + y), (9.6 + x, 47.6 + y)])
    return features_of(houses)


def encode(features: OsmFeatures, **options: Any) -> bytes:
    target = io.BytesIO()
    write_features(features, target, **options)
    return target.getvalue()


def assert_same(left: OsmFeatures, right: OsmFeatures) -> None:
    np.testing.assert_array_equal(left.elements, right.elements)
    np.testing.assert_array_equal(left.ids, right.ids)
    assert shapely.equals_exact(left.geometries, right.geometries).all()
    assert [dict(tags) for tags in left.tags] == [dict(tags) for tags in right.tags]
    np.testing.assert_array_equal(left.timestamps, right.timestamps)


class CountingFile(io.BytesIO):
    """A file that knows which bytes of it were read."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_what_is_written_is_read(rng: np.random.Generator) -> None:
    features = town(rng)
    assert_same(read_features_table(encode(features)), features)


def test_every_kind_of_geometry_and_odd_tags_are_kept() -> None:
    square = shapely.box(0, 0, 1, 1)
    kinds = [
        shapely.Point(1, 2),
        shapely.LineString([(0, 0), (1, 1)]),
        square.difference(shapely.box(0.2, 0.2, 0.4, 0.4)),
        shapely.MultiPoint([(0, 0), (1, 1)]),
        shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 3)]]),
        shapely.MultiPolygon([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)]),
    ]
    tags = ({}, {"name": "Äpfel;\n☃", "a": ""}, {"<b>": '"'}, {"k": "v" * 300}, {"x": "1"}, {"y": "2"})
    features = features_of(kinds, tags=tags)
    raw = encode(features)
    assert_same(read_features_table(raw), features)
    geo = json.loads(pq.read_schema(pa.BufferReader(raw)).metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == sorted(each.geom_type for each in kinds)


def test_no_feature_makes_a_table_that_opens(tmp_path: Path) -> None:
    nothing = features_of([])
    facts = write_features(nothing, tmp_path / "t.parquet")
    assert (facts.row_count, facts.row_groups) == (0, 0)
    assert_same(read_features_table(tmp_path / "t.parquet"), nothing)
    assert len(read_features_table(tmp_path / "t.parquet", (0, 0, 1, 1))) == 0
    assert len(geopandas.read_parquet(tmp_path / "t.parquet")) == 0


def test_features_at_one_place_are_kept() -> None:
    features = features_of([shapely.Point(7, 50)] * 5)
    assert_same(read_features_table(encode(features), (7, 50, 8, 51)), features)


def test_bytes_do_not_change(rng: np.random.Generator) -> None:
    features = town(rng)
    turned = OsmFeatures(
        elements=features.elements,
        ids=features.ids,
        geometries=features.geometries,
        tags=tuple(dict(reversed(list(tags.items()))) for tags in features.tags),
        timestamps=features.timestamps,
    )
    assert encode(features) == encode(turned)


def test_metadata_is_geoparquet_with_terms(rng: np.random.Generator) -> None:
    features = town(rng)
    raw = encode(features)
    file = pq.ParquetFile(pa.BufferReader(raw))
    metadata = file.schema_arrow.metadata
    geo = json.loads(metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"]) == ("1.1.0", "geometry", "WKB")
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    assert column["bbox"] == pytest.approx(shapely.total_bounds(features.geometries).tolist(), abs=0)
    assert metadata[b"attribution"].decode() == "© OpenStreetMap contributors"
    assert metadata[b"license"] == b"ODbL-1.0"
    assert [each.name for each in COLUMNS] == file.schema_arrow.names
    assert str(file.schema_arrow.field("timestamp").type) == COLUMNS[4].type
    assert str(file.schema_arrow.field("bbox").type).replace(" not null", "") == COLUMNS[6].type
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_row_groups_are_compact(rng: np.random.Generator) -> None:
    """Borders stand apart; each group of houses covers little more than its share of the ground."""
    target = io.BytesIO()
    facts = write_features(town(rng), target, rows_per_group=100)
    file = pq.ParquetFile(target)
    areas = []
    for group in range(facts.row_groups):
        box = file.read_row_group(group, columns=["bbox"]).column("bbox").combine_chunks().flatten()
        west, south, east, north = (edge.to_numpy() for edge in box)
        areas.append(float((east.max() - west.min()) * (north.max() - south.min())))
    assert facts.row_groups == 1 + 30  # 40 borders; 2,960 houses
    assert areas[0] > 0.3
    assert np.mean(areas[1:]) < 3 / 30
    assert sum(file.metadata.row_group(g).num_rows for g in range(31)) == N_TOWN == facts.row_count


def test_a_box_reads_few_groups_and_few_bytes(rng: np.random.Generator) -> None:
    features = town(rng)
    raw = encode(features, rows_per_group=100)
    box = (9.30, 47.30, 9.33, 47.33)
    assert 1 <= len(find_row_groups(raw, box)) <= 4  # of 31, the borders' group among them
    whole, part = CountingFile(raw), CountingFile(raw)
    read_features_table(whole)
    found = read_features_table(part, box)
    assert 0 < len(found) < 30
    assert part.read_bytes < whole.read_bytes / 3
    assert find_row_groups(raw, (-10, 0, -9, 1)) == ()
    assert len(read_features_table(raw, (-10, 0, -9, 1))) == 0


def test_a_box_finds_by_shape_not_by_bounds() -> None:
    diagonal = shapely.LineString([(0, 0), (10, 10)])
    raw = encode(features_of([diagonal, shapely.Point(8, 2), shapely.box(7, 1, 9, 3)]))
    assert read_features_table(raw, (7, 1, 9, 3)).ids.tolist() == [2, 3]
    assert read_features_table(raw, (9, 3, 9.5, 3.5)).ids.tolist() == [3]  # a corner counts
    assert read_features_table(raw, (7.5, 1.5, 7.6, 1.6)).ids.tolist() == [3]


def test_what_lies_on_the_edge_of_a_box_is_found() -> None:
    rim = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    near = [(x * 1.0000001, y * 1.0000001) for x, y in rim if (x, y) != (0, 0)]
    raw = encode(features_of([shapely.Point(place) for place in rim + near]), rows_per_group=1)
    assert read_features_table(raw, (-1, -1, 1, 1)).ids.tolist() == list(range(1, 10))
    assert len(find_row_groups(raw, (-1, -1, 1, 1))) == 9


def test_a_box_across_the_antimeridian_finds_both_sides() -> None:
    split = shapely.MultiPolygon([shapely.box(179.5, 5, 180, 6), shapely.box(-180, 5, -179.5, 6)])
    places = [shapely.Point(179.9, 0), shapely.Point(-179.9, 0), shapely.Point(0, 0), split]
    raw = encode(features_of(places), rows_per_group=1)
    assert read_features_table(raw, (179, -1, -179, 1)).ids.tolist() == [1, 2]
    assert read_features_table(raw, (179, -1, -179, 7)).ids.tolist() == [1, 2, 4]
    assert read_features_table(raw, (-1, -1, 1, 7)).ids.tolist() == [3]
    with pytest.raises(InputError, match="bbox"):
        read_features_table(raw, (0, 1, 1, 0))


def test_geopandas_opens_it(rng: np.random.Generator, tmp_path: Path) -> None:
    features = town(rng)
    write_features(features, tmp_path / "f.parquet")
    frame = geopandas.read_parquet(tmp_path / "f.parquet")
    assert len(frame) == N_TOWN
    assert frame.crs == "EPSG:4326"
    assert frame["label"].iloc[0].startswith("building:yes")
    part = geopandas.read_parquet(tmp_path / "f.parquet", bbox=(9.3, 47.3, 9.4, 47.4))
    ours = read_features_table(tmp_path / "f.parquet", (9.3, 47.3, 9.4, 47.4))
    assert set(ours.ids) <= set(part["id"])  # geopandas goes by bounds
    assert len(ours) <= len(part) < N_TOWN / 10


def test_foreign_kin_of_the_types_are_read(rng: np.random.Generator, tmp_path: Path) -> None:
    features = town(rng)
    write_features(features, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet").drop_columns(["label"])
    kin = {"element": pa.large_string(), "id": pa.int32(), "timestamp": pa.timestamp("us", tz="UTC")}
    for name, kind in kin.items():
        place = table.schema.get_field_index(name)
        column = table.column(name)
        plain = column.cast(pa.string()) if name == "element" else column
        table = table.set_column(place, name, plain.cast(kind))
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "b.parquet", write_statistics=False)
    assert_same(read_features_table(tmp_path / "b.parquet"), features)
    box = (9.3, 47.3, 9.4, 47.4)  # without statistics every group is read, and the answer is the same
    assert_same(
        read_features_table(tmp_path / "b.parquet", box), read_features_table(tmp_path / "a.parquet", box)
    )


def test_the_frame_has_what_the_table_has(rng: np.random.Generator) -> None:
    features = town(rng)
    frame = features_to_geodataframe(features)
    assert list(frame.columns) == ["element", "id", "label", "tags", "timestamp", "geometry"]
    assert frame["element"].tolist()[:: N_TOWN - 1] == ["node", "relation"]
    assert frame["timestamp"].isna().sum() == N_TOWN // 3
    assert str(frame["timestamp"].dtype.tz) == "UTC"
    assert frame["tags"].iloc[7] == features.tags[7]
    assert len(features_to_geodataframe(features_of([]))) == 0


def forge(raw: bytes, name: str, column: pa.Array) -> bytes:
    table = pq.read_table(pa.BufferReader(raw))
    forged = table.set_column(table.schema.get_field_index(name), name, column)
    target = io.BytesIO()
    pq.write_table(forged, target)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("geometry", pa.array([b"\x01\x02", b"junk"]), "broken, empty, invalid"),
        ("geometry", pa.array([shapely.Point(0, 0).wkb, shapely.Point().wkb]), "broken, empty"),
        ("geometry", pa.array([shapely.Point(0, 0).wkb, None]), "has 1 empty row"),
        ("geometry", pa.array([1, 2]), "column geometry holds int64"),
        (
            "geometry",
            pa.array([shapely.from_wkt("POLYGON((0 0,1 1,1 0,0 1,0 0))").wkb] * 2),
            "invalid or off the Earth, the first of node/1",
        ),
        ("geometry", pa.array([shapely.Point(0, 0).wkb, shapely.Point(1e300, 0).wkb]), "1 geometries"),
        ("element", pa.array(["way", "<script>"]), "'<script>': expected node, way, relation"),
        ("element", pa.array(["node", "node"]), None),
        ("id", pa.array([1, 1]), None),
        ("id", pa.array(["one", "two"]), "column id holds string"),
        ("tags", pa.array([[("k", None)], []], pa.map_(pa.string(), pa.string())), "tag without value"),
        ("tags", pa.array(["highway", "x"]), "column tags holds string"),
        ("bbox", pa.array([[1.0], [2.0]]), "column bbox"),
    ],
)
def test_forged_columns_are_refused(name: str, column: pa.Array, message: str | None) -> None:
    raw = encode(features_of([shapely.Point(0, 0), shapely.Point(1, 1)]))
    forged = forge(raw, name, column)
    if message is None:
        assert len(read_features_table(forged)) == 2
        return
    with pytest.raises(DataError, match=message):
        read_features_table(forged)


def test_an_element_that_comes_twice_is_refused() -> None:
    raw = encode(features_of([shapely.Point(0, 0), shapely.Point(1, 1)]))
    twice = forge(forge(raw, "element", pa.array(["way", "way"])), "id", pa.array([5, 5]))
    with pytest.raises(DataError, match="way/5 comes twice"):
        read_features_table(twice)


def test_boxes_of_a_file_without_usable_boxes_are_refused() -> None:
    raw = encode(features_of([shapely.Point(0, 0), shapely.Point(1, 1)]))
    names = ("xmin", "ymin", "xmax", "ymax")
    kind = pa.struct([(name, pa.float64()) for name in names])
    missing = pa.array([None, None], kind)
    words = pa.array([dict.fromkeys(names, "0")] * 2)
    holes = pa.array([dict.fromkeys(names[:3], 0.0)] * 2, kind)
    for column in (missing, words, holes, pa.array([1.0, 2.0]), pa.array([{"xmin": 0.0}] * 2)):
        with pytest.raises(DataError, match="bbox"):
            read_features_table(forge(raw, "bbox", column), (0, 0, 1, 1))


def test_files_that_are_no_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing\.parquet does not exist"):
        read_features_table(tmp_path / "nothing.parquet")
    for junk in (b"", b"PAR1", b"<html>" * 100):
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            read_features_table(junk)
    target = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), target)
    with pytest.raises(DataError, match="lacks the columns element, tags"):
        read_features_table(target.getvalue())


def test_damage_anywhere_is_told_or_harmless(rng: np.random.Generator) -> None:
    """Half a file, and flipped bytes: a DataError, never a crash of another kind."""
    raw = encode(features_of([shapely.Point(x, x) for x in range(50)]))
    with pytest.raises(DataError):
        read_features_table(raw[: len(raw) // 2])
    refused = 0
    for place in rng.choice(len(raw), 60, replace=False):
        broken = bytearray(raw)
        broken[place] ^= 0xFF
        try:
            read_features_table(bytes(broken))
        except DataError:
            refused += 1
    assert refused > 20


def test_text_that_is_not_unicode_is_named() -> None:
    features = features_of([shapely.Point(0, 0)] * 3, tags=({}, {"building": "\ud800"}, {}))
    with pytest.raises(DataError, match="way/2"):
        encode(features)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    features = features_of([shapely.Point(0, 0)], tags=({"name": "\ud800"},))
    with pytest.raises(DataError):
        write_features(features, tmp_path / "f.parquet")
    (tmp_path / "folder").mkdir()
    fine = features_of([shapely.Point(0, 0)])
    with pytest.raises(ConfigError, match="folder"):
        write_features(fine, tmp_path / "folder")
    assert list(tmp_path.rglob("*")) == [tmp_path / "folder"]
    with pytest.raises(InputError, match="rows_per_group is 0"):
        write_features(fine, tmp_path / "f.parquet", rows_per_group=0)


def test_quarantine_is_kept(tmp_path: Path) -> None:
    items = (
        QuarantinedFeature(
            element="way", id=7, reason="open-ring", detail="way/7 …", tags={"b": "2", "a": "1"}
        ),
        QuarantinedFeature(element="relation", id=7, reason="empty", detail="nothing left", tags={}),
    )
    write_quarantine(items, tmp_path / "q.parquet")
    assert read_quarantine(tmp_path / "q.parquet") == items
    write_quarantine((), tmp_path / "q.parquet")
    assert read_quarantine(tmp_path / "q.parquet") == ()
    with pytest.raises(DataError, match="lacks the columns reason, detail"):
        read_quarantine(encode(features_of([shapely.Point(0, 0)])))
    raw = io.BytesIO()
    write_quarantine((QuarantinedFeature(element="area", id=1, reason="r", detail="d", tags={}),), raw)
    with pytest.raises(DataError, match="'area'"):
        read_quarantine(raw.getvalue())
