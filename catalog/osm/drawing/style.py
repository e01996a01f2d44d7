"""Hold the look of the drawn map as data: which tags, in what order, in what colour, how wide."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

_ALWAYS = 1e9


@dataclass(frozen=True)
class AreaRule:
    """Say how polygons with certain tags are drawn."""

    name: str
    layer: int
    """Lower layers are drawn first; within one, larger areas first, so that small ones stay in sight."""
    fill: str
    """``#rrggbb``."""
    where: str
    """Tags of which one is enough, spelt as ``rules.parse_tags`` reads them."""
    _: KW_ONLY
    unless: str = ""
    """Tags of which none may be there."""
    needs: str = ""
    """Tags of which one must be there besides."""
    outline: str | None = None
    """Colour of a thin line along the edge."""
    outline_max_gsd_m: float = 1.5
    """Pixel size beyond which there is no outline, metres."""
    max_gsd_m: float = _ALWAYS
    """Pixel size beyond which the area is not drawn, metres."""


@dataclass(frozen=True)
class LineRule:
    """Say how lines with certain tags are drawn."""

    name: str
    layer: int
    colour: str
    width_m: float
    """On the ground, metres, where the feature's own tags say nothing."""
    min_px: float
    """Least width of the core, pixels."""
    where: str
    _: KW_ONLY
    unless: str = ""
    needs: str = ""
    max_px: float = _ALWAYS
    """Greatest width of the core, pixels: paths stay thin however fine the pixels are."""
    casing: str | None = None
    """Colour of the edge on both sides."""
    casing_layer: int = 0
    """Where the casing is drawn; one below all roads, so that roads of all classes run into one another."""
    casing_px: float = 1.0
    """Width of the edge, pixels; at most a fifth or so of the core."""
    dash_px: tuple[float, float] | None = None
    """Length of a dash of the core and of the gap after it, pixels; the casing is never dashed."""
    max_gsd_m: float = _ALWAYS


@dataclass(frozen=True, kw_only=True)
class MapStyle:
    """Hold a whole look."""

    land: str
    """Colour of ground of which the map says nothing."""
    ground_layer: int
    """Layers below it make up the ground; the land colour shows where none of them lies."""
    sea: AreaRule
    """How the seaward side of a coastline is drawn, where the coastline parts the whole picture."""
    areas: tuple[AreaRule, ...]
    """In order of precedence: a feature takes the first that fits."""
    lines: tuple[LineRule, ...]


_TUNNEL = "tunnel=* covered=yes indoor=yes"
_BURIED = f"{_TUNNEL} location=underground|underwater"

_SEA, _TOWN, _QUARTER, _LAND, _WATER, _GROUND, _STREAM, _PLACE, _BUILDING = range(0, 90, 10)
_UNDER, _CASING, _ROAD, _OVER = 90, 100, 110, 140

_GREEN, _GRASS, _WOOD = "#cce6b6", "#dbecc3", "#b2d09d"
_BLUE, _SEA_BLUE = "#a2cee5", "#97c5e0"

_AREAS = (
    AreaRule("building", _BUILDING, "#cfbeae", "building=* building:part=*", unless=_BURIED,
             outline="#a38e7c"),
    AreaRule("tank", _BUILDING, "#cac4c4", "man_made=storage_tank|silo|gasometer", outline="#9a9393"),
    AreaRule("wetland", _LAND, "#cde4d8", "natural=wetland|mud"),
    AreaRule("dry basin", _LAND, "#d5e3df", "natural=water landuse=basin|reservoir",
             needs="intermittent=yes basin=detention|infiltration"),
    AreaRule("water", _WATER, _BLUE,
             "natural=water|bay|strait|spring waterway=riverbank|dock|canal|river "
             "landuse=reservoir|basin|salt_pond "
             "leisure=swimming_pool water=* amenity=fountain", unless="tunnel=* covered=yes"),
    AreaRule("harbour", _SEA + 1, _SEA_BLUE, "leisure=marina landuse=harbour"),
    AreaRule("glacier", _LAND, "#e9f4f9", "natural=glacier"),
    AreaRule("pier", _PLACE, "#e7e1d6", "man_made=pier|breakwater|groyne|quay", outline="#c8bfb1"),
    AreaRule("bridge", _PLACE, "#e4ded4", "man_made=bridge"),
    AreaRule("platform", _PLACE, "#d8d1d2", "railway=platform public_transport=platform"),
    AreaRule("square", _PLACE, "#f1ebe6", "highway=pedestrian|footway|platform|living_street place=square",
             outline="#d6ccc2"),
    AreaRule("parking", _PLACE, "#e3e1e3", "amenity=parking|bicycle_parking "
             "highway=service|rest_area|services",
             outline="#cfccd0", unless="parking=underground"),
    AreaRule("runway", _PLACE, "#cdcbd6", "aeroway=runway|taxiway|apron|helipad"),
    AreaRule("pitch", _PLACE, "#aad9b6", "leisure=pitch|track|stadium|ice_rink", outline="#8dc39b"),
    AreaRule("playground", _PLACE, "#d5edcd", "leisure=playground|dog_park|miniature_golf",
             outline="#b5d8ad"),
    AreaRule("forest", _LAND, _WOOD, "landuse=forest natural=wood"),
    AreaRule("scrub", _LAND, "#c8dba8", "natural=scrub|heath|fell|shrubbery|tundra"),
    AreaRule("cemetery", _LAND, "#c5d8be", "landuse=cemetery amenity=grave_yard"),
    AreaRule("grass", _LAND, _GRASS, "landuse=grass|meadow|greenfield|flowerbed natural=grassland"),
    AreaRule("orchard", _LAND, "#d8e3a9", "landuse=orchard|vineyard|plant_nursery|allotments"),
    AreaRule("farmland", _LAND, "#f2e9ca", "landuse=farmland|greenhouse_horticulture"),
    AreaRule("farmyard", _LAND, "#ebdcc2", "landuse=farmyard"),
    AreaRule("sand", _LAND, "#f4e4b8", "natural=beach|sand|dune|shoal golf=bunker"),
    AreaRule("rock", _LAND, "#dad6ce", "natural=bare_rock|scree|shingle|rock|stone|blockfield"),
    AreaRule("quarry", _LAND, "#dfd8cc", "landuse=quarry|landfill|brownfield|construction"),
    AreaRule("park", _LAND, _GREEN,
             "leisure=park|garden|golf_course|common landuse=recreation_ground|village_green"),
    AreaRule("rail ground", _QUARTER, "#e1dbde", "landuse=railway"),
    AreaRule("school", _QUARTER, "#f3e8d1", "amenity=school|university|college|kindergarten|hospital|clinic"),
    AreaRule("industrial", _QUARTER, "#e3dce5",
             "landuse=industrial|port|depot power=plant|substation man_made=works|wastewater_plant"),
    AreaRule("commercial", _QUARTER, "#f1dfd7", "landuse=commercial|retail"),
    AreaRule("airfield", _TOWN, "#e6e5e8", "aeroway=aerodrome landuse=military"),
    AreaRule("residential", _TOWN, "#eae4da", "landuse=residential|garages|religious place=city_block"),
)  # fmt: skip

_WATERWAYS = (
    LineRule("river", _STREAM, _BLUE, 12.0, 1.2, "waterway=river", unless=_TUNNEL),
    LineRule("canal", _STREAM, _BLUE, 8.0, 1.0, "waterway=canal", unless=_TUNNEL),
    LineRule("stream", _STREAM, _BLUE, 2.0, 0.8, "waterway=stream", unless=_TUNNEL, max_gsd_m=12),
    LineRule("ditch", _STREAM, "#b4d7e8", 1.2, 0.6, "waterway=ditch|drain|tidal_channel", unless=_TUNNEL,
             max_gsd_m=5),
    LineRule("coastline", _STREAM, "#7fb3d0", 0.5, 1.0, "natural=coastline"),
    LineRule("pier line", _PLACE, "#ded6ca", 5.0, 0.8, "man_made=pier|breakwater|groyne|quay"),
    LineRule("runway line", _PLACE, "#cdcbd6", 40.0, 1.5, "aeroway=runway"),
    LineRule("taxiway line", _PLACE, "#cdcbd6", 15.0, 0.8, "aeroway=taxiway", max_gsd_m=15),
    LineRule("wall", _PLACE, "#b9ad9f", 0.5, 0.7, "barrier=city_wall|wall|retaining_wall", max_gsd_m=0.8,
             max_px=2),
    LineRule("hedge", _PLACE, _WOOD, 1.5, 0.7, "barrier=hedge natural=tree_row", max_gsd_m=1.5),
)  # fmt: skip

_MAJOR = (
    "motorway|motorway_link|trunk|trunk_link|primary|primary_link|secondary|secondary_link|"
    "tertiary|tertiary_link"
)
_TUNNELS = (
    LineRule("road tunnel", _UNDER, "#f6f1e8", 7.0, 1.0, f"highway={_MAJOR}|residential|unclassified",
             needs=_TUNNEL,
             casing="#d3c9ba", casing_layer=_UNDER - 1, casing_px=0.7, max_gsd_m=10),
    LineRule("path tunnel", _UNDER, "#d9cfc6", 1.5, 0.7, "highway=*", needs=_TUNNEL, max_px=2, dash_px=(2, 3),
             max_gsd_m=1.0),
    LineRule("rail tunnel", _UNDER, "#bdb9c2", 1.5, 0.7, "railway=rail|light_rail|subway|narrow_gauge|tram",
             needs=_TUNNEL, max_px=2, dash_px=(5, 4), max_gsd_m=25),
)  # fmt: skip


def _road(name: str, rank: int, look: tuple[str, str], size: tuple[float, float], where: str) -> LineRule:
    """Make the rule of a road class: colour and casing, width in metres and least width in pixels."""
    return LineRule(
        name, _ROAD + rank, look[0], *size, where, casing=look[1], casing_layer=_CASING,
        max_gsd_m=(4.0, 6.0, 20.0, 60.0, 150.0, _ALWAYS, _ALWAYS, _ALWAYS)[rank],
    )  # fmt: skip


_PALE = ("#ffffff", "#c4bbad")
_ROADS = (
    _road("motorway", 7, ("#e98a70", "#b65c43"), (11.0, 1.9), "highway=motorway"),
    _road("trunk", 6, ("#f1a678", "#bd7547"), (11.0, 1.7), "highway=trunk"),
    _road("primary", 5, ("#f7c97f", "#cb9f55"), (10.0, 1.5), "highway=primary"),
    _road("ramp", 5, ("#f1b98a", "#bd8350"), (6.0, 1.0), "highway=motorway_link|trunk_link|primary_link"),
    _road("secondary", 4, ("#fae6a5", "#c7b06b"), (9.0, 1.2), "highway=secondary|secondary_link"),
    _road("tertiary", 3, ("#fffbe8", "#b8ae99"), (8.0, 1.0), "highway=tertiary|tertiary_link"),
    _road("street", 2, _PALE, (6.5, 0.8), "highway=residential|unclassified|living_street|road|busway"),
    _road("pedestrian", 1, ("#f4ece6", "#c9beb2"), (5.0, 0.7), "highway=pedestrian"),
    _road("service", 0, _PALE, (4.0, 0.6), "highway=service|raceway|bus_guideway"),
    LineRule("track", _ROAD - 1, "#b99c6b", 2.5, 0.6, "highway=track", max_px=1.8, dash_px=(8, 2.5),
             max_gsd_m=8),
    LineRule("cycleway", _ROAD - 1, "#7b9fd0", 1.5, 0.6, "highway=cycleway", max_px=1.5, dash_px=(5, 2),
             max_gsd_m=3),
    LineRule("steps", _ROAD - 1, "#b07b68", 2.0, 0.8, "highway=steps", max_px=3.5, dash_px=(1.5, 1.5),
             max_gsd_m=1.5),
    LineRule("path", _ROAD - 1, "#bd917c", 1.2, 0.5, "highway=footway|path|bridleway|corridor", max_px=1.4,
             dash_px=(3.5, 2), max_gsd_m=3),
)  # fmt: skip

_RAILS = (
    LineRule("rail", _OVER, "#f4f2f3", 2.2, 0.9, "railway=rail", max_px=4, dash_px=(6, 6), casing="#87838f",
             casing_layer=_OVER - 1, casing_px=1.0),
    LineRule("light "
             "rail", _OVER, "#8f8b98", 1.6, 0.8, "railway=light_rail|subway|narrow_gauge|funicular|monorail",
             max_px=3, max_gsd_m=40),
    LineRule("tram", _OVER, "#8f8b98", 1.0, 0.6, "railway=tram|preserved|miniature", max_px=1.4, max_gsd_m=4),
    LineRule("cable", _OVER, "#8a8a8a", 0.6, 0.6, "aerialway=*", max_px=1.0, max_gsd_m=10),
)  # fmt: skip

DEFAULT = MapStyle(
    land="#f6f3ec",
    ground_layer=_GROUND,
    sea=AreaRule("sea", _SEA, _SEA_BLUE, ""),
    areas=_AREAS,
    lines=(*_WATERWAYS, *_TUNNELS, *_ROADS, *_RAILS),
)
"""The look of maps unless another is asked for."""
