"""Hold the classes of label rasters as data: what each is called, and which tags make it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any


@dataclass(frozen=True)
class LabelClass:
    """Name one class of a label raster."""

    index: int
    """Number in the raster."""
    name: str
    """Lower case, no blanks, as STAC wants it."""
    colour: str
    """``#rrggbb``, for showing the raster."""
    description: str


@dataclass(frozen=True)
class ClassRule:
    """Say which tags make a class, as areas or as lines."""

    name: str
    """Of the class."""
    layer: int
    """Higher layers win; within one, small areas win over large ones, and lines over areas."""
    where: str
    """Tags of which one is enough, spelt as ``rules.parse_tags`` reads them."""
    _: KW_ONLY
    unless: str = ""
    needs: str = ""
    line_m: float | None = None
    """Width of lines on the ground, metres, where their tags say nothing; None for a rule about areas."""


UNKNOWN = 0
"""Class of ground of which the map says nothing; nodata of the raster, so that nobody trains on it."""

CLASSES = (
    LabelClass(0, "unknown", "#000000", "Nothing mapped"),
    LabelClass(1, "building", "#b5453a", "Building or tank"),
    LabelClass(2, "road", "#e8e2d6", "Road, street or track"),
    LabelClass(3, "rail", "#6f6a7d", "Railway and its ground"),
    LabelClass(4, "water", "#3f86c4", "Sea, lake, river or basin"),
    LabelClass(5, "trees", "#2f7d46", "Forest, wood or orchard"),
    LabelClass(6, "grass", "#93c56b", "Grass, park, meadow or scrub"),
    LabelClass(7, "farmland", "#e3c766", "Cropland"),
    LabelClass(8, "residential", "#d9b7a3", "Residential ground between the buildings"),
    LabelClass(9, "industrial", "#b493b8", "Industrial, commercial or public ground"),
    LabelClass(10, "bare", "#c9ba9b", "Sand, rock, quarry or building site"),
    LabelClass(11, "paved", "#9c9c9c", "Square, car park, apron or pier"),
    LabelClass(12, "wetland", "#6fb5a2", "Marsh, mud or reed"),
    LabelClass(13, "ice", "#dff1f8", "Glacier"),
)
"""Every class, by its number."""

_HIDDEN = "tunnel=* covered=yes indoor=yes location=underground|underwater"
_QUARTER, _LAND, _WATER, _PAVED, _RAIL, _ROAD, _BUILDING = range(7)


def _road(width_m: float, kinds: str) -> ClassRule:
    return ClassRule("road", _ROAD, f"highway={kinds}", unless=_HIDDEN, line_m=width_m)


CLASS_RULES = (
    ClassRule("building", _BUILDING, "building=* building:part=* man_made=storage_tank|silo|gasometer",
              unless="location=underground|underwater indoor=yes"),
    ClassRule("wetland", _LAND, "natural=wetland|mud"),
    ClassRule("bare", _LAND, "natural=water landuse=basin|reservoir",
              needs="intermittent=yes basin=detention|infiltration"),
    ClassRule("water", _WATER,
              "natural=water|bay|strait waterway=riverbank|dock|canal|river "
              "landuse=reservoir|basin|salt_pond "
              "leisure=swimming_pool water=*", unless=_HIDDEN),
    ClassRule("ice", _LAND, "natural=glacier"),
    ClassRule("paved", _PAVED,
              "man_made=pier|breakwater|groyne|quay|bridge "
              "highway=pedestrian|footway|service|rest_area|services "
              "place=square amenity=parking railway=platform public_transport=platform "
              "aeroway=runway|taxiway|apron|helipad", unless=f"{_HIDDEN} parking=underground|multi-storey"),
    ClassRule("trees", _LAND, "landuse=forest|orchard natural=wood"),
    ClassRule("grass", _LAND,
              "landuse=grass|meadow|greenfield|flowerbed|recreation_ground|village_green|cemetery|allotments "
              "natural=grassland|scrub|heath|fell|shrubbery|tundra amenity=grave_yard "
              "leisure=park|garden|golf_course|common|pitch|playground|dog_park"),
    ClassRule("farmland", _LAND, "landuse=farmland|vineyard|plant_nursery|greenhouse_horticulture"),
    ClassRule("bare", _LAND,
              "natural=beach|sand|dune|shoal|bare_rock|scree|shingle|rock|stone|blockfield golf=bunker "
              "landuse=quarry|landfill|brownfield|construction"),
    ClassRule("rail", _LAND, "landuse=railway"),
    ClassRule("industrial", _QUARTER,
              "landuse=industrial|port|depot|commercial|retail|farmyard power=plant|substation|generator "
              "man_made=works|wastewater_plant "
              "amenity=school|university|college|kindergarten|hospital|clinic"),
    ClassRule("residential", _QUARTER, "landuse=residential|garages|religious place=city_block"),
    ClassRule("water", _WATER, "waterway=river", unless=_HIDDEN, line_m=8.0),
    ClassRule("water", _WATER, "waterway=canal", unless=_HIDDEN, line_m=6.0),
    ClassRule("water", _WATER, "waterway=stream", unless=f"{_HIDDEN} intermittent=yes", line_m=1.5),
    ClassRule("paved", _PAVED, "man_made=pier|breakwater|groyne|quay", line_m=5.0),
    ClassRule("paved", _PAVED, "aeroway=runway", line_m=40.0),
    ClassRule("paved", _PAVED, "aeroway=taxiway", line_m=15.0),
    ClassRule("rail", _RAIL, "railway=rail|light_rail|subway|narrow_gauge", unless=_HIDDEN, line_m=4.5),
    _road(11.0, "motorway|trunk"),
    _road(10.0, "primary"),
    _road(9.0, "secondary"),
    _road(8.0, "tertiary"),
    _road(6.5, "residential|unclassified|busway|motorway_link|trunk_link|primary_link|secondary_link|"
          "tertiary_link"),
    _road(5.0, "living_street|pedestrian|road"),
    _road(4.0, "service|raceway"),
    _road(3.0, "track"),
)  # fmt: skip
"""What makes which class, in order of precedence; footpaths are too narrow to be seen from above."""


def class_table() -> list[dict[str, Any]]:
    """Return the classes as STAC's ``classification:classes`` wants them.

    Source: STAC classification extension 2.0: value, name, title, description, color_hint, nodata.
    """
    return [
        {
            "value": one.index,
            "name": one.name,
            "title": one.name.capitalize(),
            "description": one.description,
            "color_hint": one.colour.removeprefix("#").upper(),
            **({"nodata": True} if one.index == UNKNOWN else {}),
        }
        for one in CLASSES
    ]
