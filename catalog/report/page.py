"""Write a run's facts as one HTML page: no script, nothing loaded, the same bytes for the same facts."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from catalog.grid import BoundsLonLat
from catalog.report.facts import RunFacts, StageFacts
from catalog.report.map import draw_map
from catalog.report.map_frame import label_lat, label_lon

_STAGES = {
    "search": "Search the source",
    "fetch": "Fetch the map data",
    "plan": "Plan the products",
    "check": "Check files, hosts and space",
    "cluster": "Start or join the cluster",
    "write": "Read the inputs, write the products",
    "look up": "Look the scenes up",
    "register": "Read, match and write the pairs",
    "publish": "Publish the items",
    "reconcile": "Reconcile store and catalogue",
}
_DAY_START = re.compile(r"T00:00(:00(\.0+)?)?(Z|\+00:00)?$")
_DAY_END = re.compile(r"T23:59(:59(\.9+)?)?(Z|\+00:00)?$")
_LEAST_REST_S = 0.05
_LONGEST_LINK = 400  # characters; foreign addresses can be of any length


def render_page(facts: RunFacts) -> str:
    """Return the page of a run.

    Args:
        facts: All that it says; the same facts give the same bytes.

    Returns:
        A whole HTML document. Every text in it is escaped; a policy in its head forbids it to load anything.
    """
    quarantined = [cube for cube in facts.cubes if cube.deed.state == "quarantined"]
    stages = [*facts.record.stages, *_unmeasured(facts)]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            facts=facts,
            record=facts.record,
            request=facts.record.request,
            area=spell_area(facts.record.request.bbox),
            dates=spell_dates(facts.record.request.dates),
            stages=stages,
            longest_s=max((stage.seconds for stage in stages), default=0.0) or 1.0,
            stage_titles=_STAGES,
            map_svg=Markup(draw_map(facts.map)),  # noqa: S704 - made by an XML writer, which escapes
            quarantined=quarantined,
            why={cube.deed.id: number for number, cube in enumerate(quarantined, start=1)},
        )
    )


def spell_area(bbox: BoundsLonLat) -> str:
    """Spell a box for people, as precisely as its size asks for, e.g. ``52.4° N to 52.6° N, …``."""
    west, south, east, north = bbox
    span = min(north - south, (east - west) % 360 or 360.0)
    step = 10.0 ** math.floor(math.log10(span / 3))
    lats = f"{label_lat(south, step)} to {label_lat(north, step)}"
    if east - west >= 360:
        return f"{lats}, all longitudes"
    return f"{lats}, {label_lon(west, step)} to {label_lon(east, step)}"


def spell_dates(interval: str) -> str:
    """Spell an interval ``A/B`` for people: whole days as days; an end may be open."""
    start, slash, end = interval.partition("/")
    start, end = _DAY_START.sub("", start), _DAY_END.sub("", end)
    if not slash or start == end:
        return start
    if start in {"", ".."}:
        return f"until {end}"
    return f"since {start}" if end in {"", ".."} else f"{start} to {end}"


def spell_size(size: int | None) -> str:
    """Spell a number of bytes in decimal units, three digits or so; a dash where it is not known."""
    if size is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.{2 if size < 10 * factor else 1}f} {unit}"
    return f"{size} B"


def spell_seconds(seconds: float | None) -> str:
    """Spell a duration; a dash where it is not known."""
    if seconds is None:
        return "–"
    if seconds < 99.95:
        return f"{seconds:.{2 if seconds < 9.995 else 1}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def spell_percent(percent: float | None) -> str:
    """Spell a percentage, rounded down so that only a full cube is called 100 %; a dash where unknown."""
    return "–" if percent is None else f"{math.floor(percent * 10) / 10:g} %"


def spell_rate(stage: StageFacts) -> str:
    """Spell how fast a stage wrote; a dash where its bytes are not known."""
    if not stage.size or stage.seconds <= 0:
        return "–"
    return f"{stage.size / stage.seconds / 1e6:.1f} MB/s"


def web_address(href: str | None) -> str | None:
    """Return an address that a page may link to; None for anything else, ``javascript:`` above all."""
    if href is None or len(href) > _LONGEST_LINK:
        return None
    return href if href.startswith(("http://", "https://")) else None


def _unmeasured(facts: RunFacts) -> list[StageFacts]:
    rest = facts.record.seconds - sum(stage.seconds for stage in facts.record.stages)
    return [StageFacts(name="Everything else", seconds=rest)] if rest > _LEAST_REST_S else []


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("catalog.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    spelling: dict[str, Any] = {
        "size": spell_size,
        "seconds": spell_seconds,
        "percent": spell_percent,
        "rate": spell_rate,
        "web": web_address,
    }
    environment.filters.update(spelling)
    return environment
