import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import osmium
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.features import rasterize
from rio_cogeo import cog_validate

from catalog.osm.drawing.class_raster import draw_classes, encode_class_cog
from catalog.osm.drawing.classes import CLASS_RULES, CLASSES, ClassRule, class_table
from catalog.osm.drawing.coverage import cover_areas, cover_lines, dash_edges, hold_centres
from catalog.osm.drawing.map_picture import draw_map
from catalog.osm.drawing.placing import trace_rings
from catalog.osm.drawing.rules import match_rules
from catalog.osm.drawing.style import DEFAULT, AreaRule, LineRule, MapStyle
from catalog.osm.drawing.widths import read_width
from catalog.osm.records import OsmFeatures
from catalog.records import Grid
from catalog.sample.cover import Cover
from catalog.sample.publish import SampleWorldConfig, write_sample_world
from infra.errors import InputError

BLACK, WHITE, RED = "#000000", "#ffffff", "#ff0000"
INK = MapStyle(
    land=BLACK,
    ground_layer=5,
    sea=AreaRule("sea", 0, "#0000ff", ""),
    areas=(
        AreaRule("white", 1, WHITE, "area=white"),
        AreaRule("red", 1, RED, "area=red"),
        AreaRule("green", 2, "#00ff00", "area=green"),
    ),
    lines=(
        LineRule("road", 10, WHITE, 6.0, 0.5, "highway=*"),
        LineRule("cased", 10, WHITE, 8.0, 0.5, "cased=*", casing=RED, casing_layer=9, casing_px=1.0),
    ),
)
Drawn = tuple[shapely.Geometry, dict[str, str]]


def make_grid(crs: str, transform: Affine, shape_yx: tuple[int, int] = (60, 60)) -> Grid:
    six = tuple(transform)[:6]
    return Grid(crs=crs, transform=six, shape_yx=shape_yx, shard_px=256, chunk_px=256)


def utm_grid(gsd_m: float = 1.0, shape_yx: tuple[int, int] = (60, 60)) -> Grid:
    return make_grid("EPSG:32632", Affine(gsd_m, 0, 540_000, 0, -gsd_m, 5_220_000), shape_yx)


def place(drawn: Sequence[Drawn], grid: Grid) -> OsmFeatures:
    """Make features of geometries in pixel coordinates of a grid."""
    to_lonlat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)

    def convert(points: np.ndarray) -> np.ndarray:
        a, b, c, d, e, f = grid.transform
        x, y = points.T
        return np.column_stack(to_lonlat.transform(a * x + b * y + c, d * x + e * y + f))

    count = len(drawn)
    geometries = np.empty(count, object)
    geometries[:] = [shapely.transform(geometry, convert) for geometry, _ in drawn]
    return OsmFeatures(
        elements=np.ones(count, np.uint8),
        ids=np.arange(1, count + 1),
        geometries=geometries,
        tags=tuple(tags for _, tags in drawn),
        timestamps=np.full(count, "NaT", "datetime64[s]"),
    )


def shares(drawn: Sequence[Drawn], grid: Grid, style: MapStyle = INK) -> np.ndarray:
    """Draw white things on black; the red channel is then the covered share."""
    return draw_map(place(drawn, grid), grid, style=style)[0] / 255


TURNED = Affine.translation(540_000, 5_220_000) @ Affine.rotation(-33) @ Affine.scale(0.7, -0.7)
GRIDS = {
    "utm": utm_grid(0.5),
    "turned": make_grid("EPSG:32632", TURNED),
    "south up": make_grid("EPSG:32632", Affine(2, 0, 540_000, 0, 2, 5_220_000)),
    "mercator": make_grid("EPSG:3857", Affine(3, 0, 1_060_000, 0, -3, 5_960_000)),
    "degrees": make_grid("EPSG:4326", Affine(1e-5, 0, 9.5, 0, -1e-5, 47.1)),
    "utm at 180°": make_grid("EPSG:32660", Affine(10, 0, 766_000, 0, -10, 1_000_000)),
    "polar": make_grid("EPSG:5041", Affine(10, 0, 2_000_000 - 300, 0, -10, 2_000_000 + 300)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_an_edge_lies_at_its_sub_pixel_place(grid: Grid) -> None:
    drawn = shares([(shapely.box(10.25, 20.6, 30.75, 40.1), {"area": "white"})], grid)
    expected = np.zeros((60, 60))
    expected[20:41, 10:31] = 1
    expected[:, 10] *= 0.75
    expected[:, 30] *= 0.75
    expected[20] *= 0.4
    expected[40] *= 0.1
    np.testing.assert_allclose(drawn, expected, atol=0.005)


def test_a_grid_across_180_degrees_shows_both_halves() -> None:
    grid = make_grid("EPSG:4326", Affine(1e-4, 0, 179.997, 0, -1e-4, 10))
    west, east = shapely.box(179.998, 9.996, 180, 9.998), shapely.box(-180, 9.996, -179.999, 9.998)
    features = place([(shapely.box(0, 0, 1, 1), {"area": "white"})], grid)
    features.geometries[0] = shapely.MultiPolygon([west, east])
    drawn = draw_map(features, grid, style=INK)[0]
    expected = np.zeros((60, 60), np.uint8)
    expected[20:40, 10:40] = 255
    np.testing.assert_array_equal(drawn, expected)


def test_holes_stay_open_and_islands_in_them_are_drawn() -> None:
    ring = shapely.box(5, 5, 55, 55).difference(shapely.box(10, 10, 50, 50))
    island = shapely.box(20, 20, 40, 40).difference(shapely.box(25, 25, 35, 35))
    drawn = shares(
        [
            (shapely.MultiPolygon([ring, island]), {"area": "white"}),
            (shapely.box(0, 28, 60, 32), {"area": "white"}),  # overlaps, and must not open anything
        ],
        utm_grid(),
    )
    expected = np.zeros((60, 60))
    for low, high, value in ((5, 55, 1), (10, 50, 0), (20, 40, 1), (25, 35, 0)):
        expected[low:high, low:high] = value
    expected[28:32] = 1
    np.testing.assert_allclose(drawn, expected, atol=1 / 255)


def _random_polygon(rng: np.random.Generator) -> shapely.Polygon:
    """Draw a star with a hole, some of it beyond the window."""
    turn = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(4, 14)))
    reach = rng.uniform(3, 9, turn.size)
    points = rng.uniform(0, 14, 2) + (reach * np.array([np.cos(turn), np.sin(turn)])).T
    star = shapely.make_valid(shapely.Polygon(points))
    star = star.difference(shapely.Point(rng.uniform(2, 12, 2)).buffer(2))
    return max(shapely.get_parts(star), key=shapely.area)


@pytest.mark.parametrize("seed", range(40))
def test_cover_is_the_area_shapely_measures(seed: int) -> None:
    polygon = _random_polygon(np.random.default_rng(seed))
    edges = trace_rings(np.array([polygon], object), np.zeros(1, np.intp)).xy
    col, row = np.meshgrid(np.arange(15), np.arange(12))
    cells = shapely.box(col, row, col + 1, row + 1)
    exact = shapely.area(shapely.intersection(cells, polygon))
    np.testing.assert_allclose(cover_areas(edges, (12, 15)), exact, atol=1e-9)
    by_gdal = rasterize([polygon], out_shape=(12, 15), transform=Affine.identity())
    np.testing.assert_array_equal(hold_centres(edges, (12, 15)), by_gdal == 1)
    inside = shapely.contains(polygon, shapely.points(col + 0.5, row + 0.5))
    np.testing.assert_array_equal(hold_centres(edges, (12, 15)), inside)


def test_nothing_shines_through_between_neighbours() -> None:
    left = shapely.Polygon([(-5, -5), (22.3, -5), (37.7, 65), (-5, 65)])
    right = shapely.Polygon([(22.3, -5), (65, -5), (65, 65), (37.7, 65)])
    drawn = draw_map(
        place([(left, {"area": "white"}), (right, {"area": "red"})], utm_grid()), utm_grid(), style=INK
    )
    assert (drawn[0] >= 254).all(), "white and red are both full of red"


@pytest.mark.parametrize("gsd_m", [2.0, 0.25])
@pytest.mark.parametrize("angle", [0, 90, 30, 45])
def test_roads_are_as_wide_as_their_metres(gsd_m: float, angle: float) -> None:
    turn = math.radians(angle)
    along = 200 * np.array([math.cos(turn), math.sin(turn)])
    line = shapely.LineString([30.3 - along, 30.3 + along])
    drawn = shares([(line, {"highway": "x"})], utm_grid(gsd_m))
    inner = drawn[28:33] if abs(along[1]) > abs(along[0]) else drawn[:, 28:33]
    lean = max(abs(along)) / 200
    assert inner.sum() / 5 * lean * gsd_m == pytest.approx(6.0, rel=0.02)
    wide = shares([(line, {"highway": "x", "width": "9 m"})], utm_grid(gsd_m))
    inner = wide[28:33] if abs(along[1]) > abs(along[0]) else wide[:, 28:33]
    assert inner.sum() / 5 * lean * gsd_m == pytest.approx(9.0, rel=0.02)


def test_widths_are_metres_on_the_ground_in_degrees_and_mercator() -> None:
    degrees = make_grid("EPSG:4326", Affine(2e-5, 0, 10, 0, -1e-5, 60), (80, 80))  # pixels almost square
    mercator = make_grid("EPSG:3857", Affine(2, 0, 1_113_195, 0, -2, 8_399_737), (80, 80))  # 1 m at 60° N
    oblong = make_grid("EPSG:4326", Affine(1e-5, 0, 10, 0, -1e-5, 60), (80, 80))  # 0.56 m by 1.11 m
    down, across = shapely.LineString([(40, -9), (40, 90)]), shapely.LineString([(-9, 40), (90, 40)])
    for grid, step_x, step_y, rel in (
        (degrees, 1.116, 1.114, 0.02),
        (mercator, 1.0, 1.0, 0.02),
        (oblong, 0.558, 1.114, 0.04),  # edges are as soft one way as the other, pixels not as long
    ):
        assert shares([(down, {"highway": "x"})], grid)[40].sum() * step_x == pytest.approx(6, rel=rel)
        assert shares([(across, {"highway": "x"})], grid)[:, 40].sum() * step_y == pytest.approx(6, rel=rel)


def test_thin_lines_keep_their_least_width_and_joints_leave_no_marks() -> None:
    whole = shapely.LineString([(-5, 30.5), (65, 30.5)])
    halves = [shapely.LineString([(-5, 30.5), (29.7, 30.5)]), shapely.LineString([(29.7, 30.5), (65, 30.5)])]
    grid = utm_grid(30.0)
    one = shares([(whole, {"highway": "x"})], grid)
    assert one[:, 20].sum() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(one, shares([(half, {"highway": "x"}) for half in halves], grid))


def test_casings_lie_under_every_core_and_cores_join() -> None:
    lines = [shapely.LineString([(-9, 30), (69, 30)]), shapely.LineString([(30, -9), (30, 69)])]
    drawn = draw_map(place([(line, {"cased": "x"}) for line in lines], utm_grid()), utm_grid(), style=INK)
    assert (drawn[:3, 30, :] == 255).all(), "no casing crosses a core"
    assert drawn[:3, 25, 10].tolist() == [255, 0, 0], "a pixel of casing beside the core"
    assert drawn[:3, 24, 10].tolist() == [0, 0, 0]


def test_small_areas_and_higher_layers_are_on_top_whatever_comes_first() -> None:
    big, small = shapely.box(5, 5, 55, 55), shapely.box(20, 20, 30, 30)
    green = shapely.box(0, 25, 60, 35)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        drawn = [(big, {"area": "white"}), (small, {"area": "red"}), (green, {"area": "green"})]
        picture = draw_map(place([drawn[index] for index in order], utm_grid()), utm_grid(), style=INK)
        assert picture[:3, 10, 10].tolist() == [255, 255, 255]
        assert picture[:3, 22, 22].tolist() == [255, 0, 0]
        assert picture[:3, 27, 22].tolist() == [0, 255, 0]


def test_dashes_run_on_from_edge_to_edge() -> None:
    xy = np.array([[0, 0, 5, 0], [5, 0, 12, 0]], float)
    _, dashes = dash_edges(xy, np.array([0.0, 5.0]), (4.0, 2.0))
    np.testing.assert_allclose(dashes[:, [0, 2]], [[0, 4], [6, 10]])


def test_nothing_to_draw_is_land() -> None:
    picture = draw_map(place([], utm_grid()), utm_grid())
    land = [int(DEFAULT.land[i : i + 2], 16) for i in (1, 3, 5)]
    assert (picture == np.array([*land, 255])[:, None, None]).all()
    assert not draw_classes(place([], utm_grid()), utm_grid()).any()
    far = place([(shapely.box(1e5, 1e5, 2e5, 2e5), {"building": "yes"})], utm_grid())
    np.testing.assert_array_equal(draw_map(far, utm_grid()), picture)


def test_a_grid_nowhere_on_earth_is_refused() -> None:
    grid = make_grid("EPSG:3035", Affine(1e9, 0, 1e12, 0, -1e9, 1e12))
    with pytest.raises(InputError, match="not on Earth"):
        draw_map(place([], utm_grid()), grid)


def _scatter(count: int, size: int) -> list[Drawn]:
    rng = np.random.default_rng(5)
    made: list[Drawn] = []
    for _ in range(count):
        x, y = rng.uniform(-40, size + 40, 2)
        disc = shapely.Point(x, y).buffer(rng.uniform(2, 150), quad_segs=3)
        made.append((disc, {"area": ("white", "red", "green")[rng.integers(3)]}))
        line = shapely.LineString(rng.uniform(-100, size + 100, (4, 2)))
        made.append((line, {"highway" if rng.random() < 0.5 else "cased": "x"}))
    return made


def test_windows_leave_no_seams_and_bytes_repeat() -> None:
    grid = utm_grid(1.0, (620, 700))
    features = place(_scatter(60, 650), grid)
    whole = draw_map(features, grid, style=INK)
    np.testing.assert_array_equal(whole, draw_map(features, grid, style=INK))
    moved = dataclasses.replace(
        grid, transform=(1.0, 0.0, 540_000 + 130, 0.0, -1.0, 5_220_000 - 90), shape_yx=(500, 510)
    )
    part = draw_map(features, moved, style=INK)
    # the windows' borders lie elsewhere now; 8-bit rounding may differ, nothing else
    assert np.abs(part.astype(int) - whole[:, 90:590, 130:640]).max() <= 1
    rules = (ClassRule("building", 1, "area=*"), ClassRule("road", 2, "highway=*", line_m=6))
    classes = draw_classes(features, grid, rules=rules)
    np.testing.assert_array_equal(draw_classes(features, moved, rules=rules), classes[90:590, 130:640])


def test_the_sea_lies_right_of_the_coast_where_that_is_certain() -> None:
    grid = utm_grid()
    coast = {"natural": "coastline"}
    east = shapely.LineString([(-20, 20), (30, 25), (80, 20)])  # heading east: the sea lies south, below
    isle = shapely.LineString(shapely.Point(30, 45).buffer(5).exterior.coords)
    ccw = isle if not shapely.is_ccw(isle) else shapely.reverse(isle)  # rows run down

    def blue(*lines: shapely.LineString) -> np.ndarray:
        return draw_map(place([(line, coast) for line in lines], grid), grid, style=INK)[2] == 255

    sea = blue(east, ccw)
    assert sea[30:38].all()
    assert not sea[:19].any()
    assert not sea[45, 30]
    assert sea[52, 30]
    assert blue(shapely.reverse(east))[:19].all()
    assert not blue(shapely.LineString([(-20, 20), (30, 25)]), ccw).any(), "an open end decides nothing"
    water = next(one.index for one in CLASSES if one.name == "water")
    np.testing.assert_array_equal(draw_classes(place([(east, coast)], grid), grid)[30:] == water, True)


def test_rules_read_tags() -> None:
    rules = (
        AreaRule("tunnel", 0, BLACK, "highway=*", needs="tunnel=*"),
        AreaRule("street", 0, BLACK, "highway=residential|service", unless="area=yes"),
        AreaRule("any", 0, BLACK, "highway=* building=*"),
    )
    tags = [
        {"highway": "path", "tunnel": "yes"},
        {"highway": "service", "tunnel": "no"},
        {"highway": "service", "area": "yes"},
        {"building": "no"},
        {"building": "no", "highway": "residential"},
        {"name": "highway"},
        {},
    ]
    assert match_rules(tags, rules).tolist() == [0, 1, 2, -1, 1, -1, -1]
    with pytest.raises(InputError, match="does not name a tag"):
        match_rules(tags, [AreaRule("bad", 0, BLACK, "highway")])
    with pytest.raises(InputError, match="'motorway'"):
        draw_classes(place([], utm_grid()), utm_grid(), rules=[ClassRule("motorway", 0, "highway=*")])


@pytest.mark.parametrize(
    ("tags", "width_m"),
    [
        ({"width": "7.5"}, 7.5),
        ({"width": "4 m"}, 4.0),
        ({"width": "12'6\""}, 5.0),
        ({"width": "9" * 400}, 5.0),
        ({"width": "-3", "lanes": "2", "highway": "x"}, 6.4),
        ({"lanes": "2", "railway": "rail"}, 5.0),
        ({"lanes": "²", "highway": "x"}, 5.0),
        ({"lanes": "9" * 5000, "highway": "x"}, 5.0),
    ],
)
def test_widths_are_read_where_they_are_plausible(tags: dict[str, str], width_m: float) -> None:
    assert read_width(tags, 5.0) == pytest.approx(width_m)


def test_every_tag_of_the_built_in_tables_is_spelt_right_and_every_class_is_made() -> None:
    match_rules([{"building": "yes"}], [*DEFAULT.areas, *DEFAULT.lines, *CLASS_RULES])
    assert {rule.name for rule in CLASS_RULES} == {one.name for one in CLASSES[1:]}
    assert [one.index for one in CLASSES] == list(range(len(CLASSES)))
    assert len({one.colour for one in CLASSES}) == len(CLASSES)
    table = class_table()
    assert [entry["value"] for entry in table] == [one.index for one in CLASSES]
    assert [entry["value"] for entry in table if entry.get("nodata")] == [0]


def test_class_lines_keep_together_or_keep_their_width() -> None:
    line = shapely.LineString([(-5, -3.2), (65, 41.7)])
    features = place([(line, {"highway": "residential"})], utm_grid(20.0))
    kept = draw_classes(features, utm_grid(20.0))
    assert (kept == 2).any(axis=0).all()
    true = draw_classes(features, utm_grid(20.0), min_line_px=0)
    assert 0 < (true == 2).sum() < 0.6 * (kept == 2).sum()
    far = cover_lines(np.empty((0, 4)), np.empty(0), (3, 3))
    assert not far.any()


def _read_town(path: Path) -> OsmFeatures:
    """Read the sample town with osmium alone: closed ways and multipolygons are areas, others lines."""
    factory = osmium.geom.WKBFactory()
    rows = []
    for element in osmium.FileProcessor(str(path)).with_locations().with_areas():
        tags = {tag.k: tag.v for tag in element.tags}
        if element.is_area() and "highway" not in tags:
            rows.append((shapely.from_wkb(factory.create_multipolygon(element)), tags))
        elif element.is_way() and not (element.is_closed() and "highway" not in tags):
            rows.append((shapely.from_wkb(factory.create_linestring(element)), tags))
    geometries = np.empty(len(rows), object)
    geometries[:] = [geometry for geometry, _ in rows]
    return OsmFeatures(
        elements=np.ones(len(rows), np.uint8),
        ids=np.arange(len(rows)),
        geometries=geometries,
        tags=tuple(tags for _, tags in rows),
        timestamps=np.full(len(rows), "NaT", "datetime64[s]"),
    )


def test_classes_agree_with_the_truth_of_the_sample_world(tmp_path: Path) -> None:
    world = write_sample_world(tmp_path, SampleWorldConfig(size_px=256, optical_dates=1, radar_dates=0))
    with rasterio.open(world.truth) as source:
        truth = source.read(1)
        grid = make_grid(source.crs.to_string(), source.transform, truth.shape)
    classes = draw_classes(_read_town(world.osm), grid)
    # the truth takes the largest share of a pixel and draws roads with their verges: edges differ
    wanted = {
        "building": ((Cover.BUILDING, Cover.TANK), 0.65),
        "road": ((Cover.ROAD, Cover.TRACK), 0.7),
        "rail": ((Cover.RAIL,), 0.68),
        "water": ((Cover.SEA, Cover.RIVER, Cover.LAKE), 0.96),
        "trees": ((Cover.WOOD_BROAD, Cover.WOOD_NEEDLE, Cover.ORCHARD), 0.78),
        "grass": ((Cover.MEADOW, Cover.PARK, Cover.SCRUB), 0.82),
        "farmland": ((Cover.FIELD,), 0.92),
        "industrial": ((Cover.INDUSTRIAL, Cover.CENTRE, Cover.QUAY), 0.78),
    }
    numbers = {one.name: one.index for one in CLASSES}
    for name, (covers, least) in wanted.items():
        true, found = np.isin(truth, [int(cover) for cover in covers]), classes == numbers[name]
        assert (true & found).sum() / (true | found).sum() > least, name
    assert (classes == 0).mean() < 0.03


def test_class_rasters_are_whole_cogs_with_colours(tmp_path: Path) -> None:
    grid = utm_grid(1.0, (600, 700))
    drawn = [
        (shapely.box(100, 100, 300, 200), {"building": "yes"}),
        (shapely.box(0, 300, 700, 600), {"natural": "wood"}),
    ]
    classes = draw_classes(place(drawn, grid), grid)
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path in paths:
        encode_class_cog(classes, grid, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths
    assert cog_validate(paths[0], strict=True)[0]
    with rasterio.open(paths[0]) as source:
        np.testing.assert_array_equal(source.read(1), classes)
        assert source.nodata == 0
        assert source.transform == Affine(*grid.transform)
        assert source.overviews(1) == [2]
        assert source.colormap(1)[5] == (*bytes.fromhex(CLASSES[5].colour[1:]), 255)
    with pytest.raises(InputError, match="wants uint8"):
        encode_class_cog(classes[1:], grid, tmp_path / "c.tif")
