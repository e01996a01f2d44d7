"""Choose what is registered to what: free of Prefect, from what the items say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from shapely.geometry import shape

from catalog.records import Band
from catalog.registrations.plan import SceneFacts
from catalog.registrations.scenes import is_optical, is_radar

_SECONDS_PER_DAY = 86_400.0
_DAYS_PER_CLOUD_PERCENT = 2.0
_UNKNOWN_CLOUD_PERCENT = 50.0
_DAYS_IF_APART = 365.0


def pair_radar(scenes: Sequence[SceneFacts]) -> dict[str, tuple[str, ...]]:
    """Give each radar scene the optical one that suits it best: near in time, clear, and of the same ground.

    A per cent of cloud counts as much as two days: ground hides behind cloud, but changes slowly. Ground that
    an optical scene lacks counts as a year, all of it.

    Returns:
        Id of the optical scene → ids of the radar scenes to register to it; empty without one of either.
    """
    optical = [scene for scene in scenes if is_optical(scene.bands)]
    pairs: dict[str, list[str]] = defaultdict(list)
    for radar in (scene for scene in scenes if scene.radar):
        if optical:
            pairs[min(optical, key=lambda one: (_cost(one, radar), one.id)).id].append(radar.id)
    return {fixed: tuple(moving) for fixed, moving in sorted(pairs.items())}


def pair_with_map(scenes: Sequence[SceneFacts]) -> dict[str, tuple[str, ...]]:
    """Give every optical scene the drawn map, if there is one."""
    drawn = sorted(scene.id for scene in scenes if not scene.bands)
    optical = tuple(scene.id for scene in scenes if is_optical(scene.bands))
    return {drawn[-1]: optical} if drawn and optical else {}


def explain_no_pairs(cubes: Iterable[Sequence[Band]]) -> str | None:
    """Say why no radar cube can be registered to an optical one; None where one can.

    Args:
        cubes: The variables of each cube.
    """
    kinds = [tuple(bands) for bands in cubes]
    if not kinds:
        return "nothing to register: there is no cube"
    if not any(map(is_radar, kinds)):
        return "nothing to register: none of the cubes is radar"
    if not any(map(is_optical, kinds)):
        return "nothing to register: there is radar, but no optical cube to register it to"
    return None


def _cost(optical: SceneFacts, radar: SceneFacts) -> float:
    days = abs((optical.datetime - radar.datetime).total_seconds()) / _SECONDS_PER_DAY
    cloud = _UNKNOWN_CLOUD_PERCENT if optical.cloud_percent is None else optical.cloud_percent
    ground, seen = shape(radar.geometry), shape(optical.geometry)
    lacking = ground.difference(seen).area / ground.area if ground.area else 0.0
    return days + _DAYS_PER_CLOUD_PERCENT * cloud + _DAYS_IF_APART * lacking
