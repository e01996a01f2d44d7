"""Read what image file names say: scene, band, time, sensor. Pure text work, one table for each habit.

LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4.TIF   Landsat: scene … band
S2A_MSIL2A_20170613T101031_87_48_B02.tif             BigEarthNet, SAFE exports
T34SGA_20200318T091131_B02_10m.jp2                   Sentinel-2 SAFE
TERRA_MODIS_012010_NDVI_2013-09-14.jp2               band in the middle
m_4709963_se_14_1_20090818.tif                       NAIP: several bands in one file
2020/B04.tif                                         the folder is the scene
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from catalog.sources.profiles import (
    LANDSAT_C2_L2,
    OLI_REFLECTANCE,
    SENTINEL_2_L1C,
    SENTINEL_2_L2A,
    TM_REFLECTANCE,
    BandProfile,
)

_BAND = re.compile(
    r"(?:^|(?<=[_.]))("
    r"SR_B\d{1,2}|ST_B\d{1,2}|SR_QA_AEROSOL|SR_ATMOS_OPACITY|SR_CLOUD_QA|ST_(?:ATRAN|CDIST|DRAD|EMIS|EMSD|QA|TRAD|URAD)"
    r"|QA_PIXEL|QA_RADSAT|BQA|B\d{1,2}|B8A|SCL|AOT|WVP|TCI|CLDPRB|SNWPRB"
    r"|VV|VH|HH|HV|NDVI|EVI|NDWI|NBR|LST|LAI"
    r"|coastal|blue|green|red|rededge\d?|nir|nir08|nir09|swir\d{0,2}|pan|lwir\d{0,2}|cirrus|band_?\d{1,2}"
    r")(?:_(?:10|20|60)m)?(?=$|[_.])",
    re.IGNORECASE,
)
_DATE = r"(?P<year>19\d\d|20\d\d){0}(?P<month>0[1-9]|1[0-2]){0}(?P<day>0[1-9]|[12]\d|3[01])"
_TIMES = (
    re.compile(
        r"(?<!\d)" + _DATE.format("") + r"T(?P<clock>[01]\d[0-5]\d[0-5]\d|2[0-3][0-5]\d[0-5]\d)(?!\d)"
    ),
    re.compile(r"(?<!\d)" + _DATE.format("-") + r"T(?P<clock>\d\d[-:]?\d\d[-:]?\d\d)(?!\d)"),
    re.compile(r"(?<!\d)" + _DATE.format("") + r"(?!\d)"),
    re.compile(r"(?<!\d)" + _DATE.format("-") + r"(?!\d)"),
    re.compile(r"(?<!\d)" + _DATE.format("_") + r"(?!\d)"),
)
_YEAR_DAY = re.compile(r"(?<![A-Za-z0-9])A(?P<year>19\d\d|20\d\d)(?P<day>\d{3})(?!\d)")
_LANDSAT = re.compile(r"^L(?P<sensor>[COTEM])0(?P<number>[4-9])_(?P<level>L1|L2)[A-Z]{2}_", re.IGNORECASE)
_SENTINEL_2 = re.compile(r"^S2(?P<unit>[A-D])_MSI(?P<level>L1C|L2A)_", re.IGNORECASE)
_SENTINEL_2_BASELINE = re.compile(r"_N(\d{2})(\d{2})(?=_|$)")
_SENTINEL_1 = re.compile(r"^S1(?P<unit>[A-D])_(?P<mode>IW|EW|SM|WV)_(?P<product>GRD|SLC|RTC)", re.IGNORECASE)
_NAIP = re.compile(r"^m_\d{7}_[ns][ew]_\d{1,2}_", re.IGNORECASE)
_OFFSET_SINCE = dt.datetime(2022, 1, 25, tzinfo=dt.UTC)
_OLI_LEVEL_1 = (
    *("coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "pan", "cirrus", "lwir11", "lwir12"),
)


@dataclass(frozen=True, kw_only=True)
class TimeInName:
    """Hold a time that a name states."""

    instant: dt.datetime
    """UTC; noon when only the date is stated, so that the solar date stays that date anywhere on Earth."""
    whole_day: bool
    """True when only the date is stated."""


def split_band(stem: str) -> tuple[str, str | None]:
    """Part a file name, without suffix, into scene and band; the band is None when it names none.

    The scene is empty when the name is nothing but a band.
    """
    found = list(_BAND.finditer(stem))
    if not found:
        return stem, None
    last = found[-1]
    scene = stem[: last.start()].rstrip("_.") + "_" + stem[last.end() :].lstrip("_.")
    return scene.strip("_."), last.group(1)


def time_in_name(text: str) -> TimeInName | None:
    """Find the acquisition time in a name: the first date there is, with its clock time when it has one."""
    for pattern in _TIMES:
        found = pattern.search(text)
        if found:
            clock = re.sub(r"\D", "", found.groupdict().get("clock") or "")
            return _time(int(found["year"]), int(found["month"]), int(found["day"]), clock)
    found = _YEAR_DAY.search(text)
    if found and 1 <= int(found["day"]) <= 366:
        date = dt.date(int(found["year"]), 1, 1) + dt.timedelta(days=int(found["day"]) - 1)
        return _time(date.year, date.month, date.day, "")
    return None


def platform_in_name(scene: str) -> dict[str, object]:
    """Read platform, constellation and instruments as STAC properties; empty when the name tells none."""
    if found := _LANDSAT.match(scene):
        number = int(found["number"])
        instruments = {8: ["oli", "tirs"], 9: ["oli", "tirs"], 7: ["etm+"]}.get(number, ["tm"])
        return {"platform": f"landsat-{number}", "constellation": "landsat", "instruments": instruments}
    if found := _SENTINEL_2.match(scene):
        unit = found["unit"].lower()
        properties: dict[str, object] = {
            "platform": f"sentinel-2{unit}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
        }
        if baseline := _SENTINEL_2_BASELINE.search(scene):
            properties["s2:processing_baseline"] = f"{baseline.group(1)}.{baseline.group(2)}"
        return properties
    if found := _SENTINEL_1.match(scene):
        unit = found["unit"].lower()
        return {"platform": f"sentinel-1{unit}", "constellation": "sentinel-1", "instruments": ["c-sar"]}
    return {}


def band_in_name(scene: str, band: str, time: TimeInName | None) -> BandProfile | None:
    """Find what a product's name says of a band's numbers; None when it says nothing.

    Args:
        scene: As ``split_band`` gives it.
        band: The same.
        time: Acquisition, for Sentinel-2 files whose name does not state the processing baseline.
    """
    if found := _LANDSAT.match(scene):
        if found["level"].upper() == "L2":
            table = OLI_REFLECTANCE if int(found["number"]) >= 8 else TM_REFLECTANCE
            return LANDSAT_C2_L2.find(table.get(band.upper(), band))
        return _landsat_level_1(band, int(found["number"]))
    if found := _SENTINEL_2.match(scene):
        profile = SENTINEL_2_L2A if found["level"].upper() == "L2A" else SENTINEL_2_L1C
        stated = _SENTINEL_2_BASELINE.search(scene) is not None
        # Later files without a stated baseline may carry the 04.00 offset or not: say nothing of them.
        return profile.find(band) if stated or (time and time.instant < _OFFSET_SINCE) else None
    return None


def band_names_in_name(scene: str, count: int) -> tuple[str, ...] | None:
    """Name the bands of a file whose product has a fixed order; None when it has none."""
    return ("red", "green", "blue", "nir")[:count] if _NAIP.match(scene) and count in (3, 4) else None


def _landsat_level_1(band: str, number: int) -> BandProfile | None:
    digits = re.fullmatch(r"B(\d{1,2})", band, re.IGNORECASE)
    if digits is None:
        return None
    at = int(digits.group(1)) - 1
    name = _OLI_LEVEL_1[at] if number >= 8 and at < len(_OLI_LEVEL_1) else None
    # The scale of Level-1 radiances stands in each scene's MTL file; only the fill number is fixed.
    return BandProfile(names=(band,), nodata=0.0, common_name=name)


def _time(year: int, month: int, day: int, clock: str) -> TimeInName | None:
    try:
        date = dt.datetime(year, month, day, tzinfo=dt.UTC)
    except ValueError:
        return None
    if not clock:
        return TimeInName(instant=date.replace(hour=12), whole_day=True)
    hours, minutes, seconds = int(clock[:2]), int(clock[2:4]), int(clock[4:])
    return TimeInName(
        instant=date + dt.timedelta(hours=hours, minutes=minutes, seconds=seconds), whole_day=False
    )
