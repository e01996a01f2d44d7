"""Choose what is registered to what: free of Prefect, from what the items say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from catalog.registrations.plan import SceneFacts

_SECONDS_PER_DAY = 86_400.0
_DAYS_PER_CLOUD_PERCENT = 2.0
_UNKNOWN_CLOUD_PERCENT = 50.0


def pair_radar(scenes: Sequence[SceneFacts]) -> dict[str, tuple[str, ...]]:
    """Give each radar scene the optical one that suits it best: near in time, and clear.

    A per cent of cloud counts as much as two days: ground hides behind cloud, but changes slowly.

    Returns:
        Id of the optical scene → ids of the radar scenes to register to it; empty without one of either.
    """
    optical = [scene for scene in scenes if scene.bands and not scene.radar]
    pairs: dict[str, list[str]] = defaultdict(list)
    for radar in (scene for scene in scenes if scene.radar):
        if optical:
            pairs[min(optical, key=lambda one: (_cost(one, radar), one.id)).id].append(radar.id)
    return {fixed: tuple(moving) for fixed, moving in sorted(pairs.items())}


def pair_with_map(scenes: Sequence[SceneFacts]) -> dict[str, tuple[str, ...]]:
    """Give every optical scene the drawn map, if there is one."""
    drawn = sorted(scene.id for scene in scenes if not scene.bands)
    optical = tuple(scene.id for scene in scenes if scene.bands and not scene.radar)
    return {drawn[-1]: optical} if drawn and optical else {}


def _cost(optical: SceneFacts, radar: SceneFacts) -> float:
    days = abs((optical.datetime - radar.datetime).total_seconds()) / _SECONDS_PER_DAY
    cloud = _UNKNOWN_CLOUD_PERCENT if optical.cloud_percent is None else optical.cloud_percent
    return days + _DAYS_PER_CLOUD_PERCENT * cloud
