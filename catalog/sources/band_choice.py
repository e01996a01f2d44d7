"""Choose an item's bands by the names people use, and find the quality band that goes with them."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from catalog.sources.asset_bands import AssetBand, to_variable
from catalog.sources.masks import rule_for_band
from catalog.sources.probe import BandHeader
from catalog.sources.profiles import Profile
from infra.errors import AppError, InputError

_COLOURS = frozenset({"red", "green", "blue", "nir", "alpha"})

Probe = Callable[[AssetBand], tuple[BandHeader, ...]]
"""Reads the header of the file a band is in."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Hold the bands to read, in order, and which of them the cloud mask reads."""

    bands: tuple[tuple[str, AssetBand], ...]
    """Variable name and band."""
    quality_band: str | None = None
    mask_rule: str | None = None


def choose_bands(
    offered: Sequence[AssetBand],
    names: Sequence[str] | None,
    *,
    profile: Profile | None,
    probe: Probe,
    place: str,
) -> Choice:
    """Choose bands and add the quality band when the item has one.

    Args:
        offered: Every band of the item.
        names: Wanted, in order; None takes every data band.
        profile: Known synonyms, quality band and rule.
        probe: Asked how many bands a file has when the item does not say.
        place: ``collection/item``, for messages.

    Raises:
        InputError: a wanted band is not there; the nearest and the available ones are named.
    """
    chosen: dict[str, AssetBand] = {}
    if names is None:
        data = [band for band in offered if not band.is_picture and not band.quality] or offered
        chosen.update((band.variable, band) for band in _expand(data, profile, probe))
    for name in names or ():
        for variable, band in _find_or_refuse(offered, name, profile, probe, place):
            chosen.setdefault(variable, band)
    return _add_quality(list(chosen.items()), offered, profile)


def find_bands(
    offered: Sequence[AssetBand], name: str, profile: Profile | None
) -> list[tuple[str, AssetBand]]:
    """Find what a name means among an item's bands; an empty list when nothing.

    A name is an asset key, ``asset:3``, a variable, a band or common name, or a synonym of the profile. An
    asset key with several bands means all of them. Where several assets carry a band (10 m and 20 m copies),
    the finest pixel wins, then GeoTIFF over JPEG 2000, then the item's order.

    Raises:
        InputError: the name fits bands that differ (four bands may all be ``rededge``).
    """
    asset, _, index = name.rpartition(":")
    if asset and index.isdigit():
        return _nth_band(offered, asset, int(index))
    measured = [band for band in offered if not band.is_picture]
    known = profile.find(name) if profile else None
    synonyms = dict.fromkeys([name, *(known.names if known else ())])
    for fold in (str, str.lower):
        for wanted in map(fold, synonyms):
            whole = [band for band in offered if fold(band.asset) == wanted]
            if len(whole) > 1:
                return [(band.variable, band) for band in whole]
            match = whole or [band for band in measured if fold(band.variable) == wanted]
            match = match or [band for band in measured if wanted in map(fold, band.names)]
            if match:
                return [(to_variable(name), _one_of(match, name))]
    return []


def unknown_band(name: str, offered: Iterable[AssetBand], place: str) -> str:
    """Say that a band is not there, name the nearest and list what is."""
    bands = [band for band in offered if not band.is_picture]
    variables = [band.variable for band in bands]
    every = list(dict.fromkeys([*variables, *(other for band in bands for other in band.names)]))
    near = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{place} has no band {name!r}; {hint}available: {', '.join(variables)}"


def _find_or_refuse(
    offered: Sequence[AssetBand], name: str, profile: Profile | None, probe: Probe, place: str
) -> list[tuple[str, AssetBand]]:
    found = find_bands(offered, name, profile)
    if not found:
        # What cannot be opened cannot offer the band either; the refusal below says what is there.
        with contextlib.suppress(AppError):
            offered = _expand(offered, profile, probe)
        found = find_bands(offered, name, profile)
    if not found:
        raise InputError(unknown_band(name, offered, place), band=name)
    return found


def _nth_band(offered: Sequence[AssetBand], asset: str, index: int) -> list[tuple[str, AssetBand]]:
    of_asset = [band for band in offered if band.asset == asset]
    exact = [band for band in of_asset if band.index == index]
    if not exact and of_asset and of_asset[0].count is None and index > 0:
        exact = [replace(of_asset[0], index=index)]  # the item does not say how many there are
    return [(to_variable(f"{asset}_{index}"), band) for band in exact]


def _one_of(match: Sequence[AssetBand], name: str) -> AssetBand:
    different = dict.fromkeys(band.names[0] if band.names else band.variable for band in match)
    if len(different) > 1:
        raise InputError(f"band {name!r} may mean any of {', '.join(different)}; name one of them", band=name)
    return min(match, key=_preference)


def _preference(band: AssetBand) -> tuple[float, bool]:
    return band.gsd_m or float("inf"), band.href.lower().endswith(".jp2")


def _expand(bands: Sequence[AssetBand], profile: Profile | None, probe: Probe) -> list[AssetBand]:
    # An asset that lists no bands may hold several; only its header knows.
    expanded: list[AssetBand] = []
    for band in bands:
        is_known = profile is not None and profile.find(band.variable) is not None
        headers = () if band.count is not None or is_known else probe(band)
        expanded.extend(_split(band, headers) if len(headers) > 1 else [band])
    return expanded


def _split(band: AssetBand, headers: Sequence[BandHeader]) -> list[AssetBand]:
    names = [header.description or (header.colour if header.colour in _COLOURS else "") for header in headers]
    speaking = all(names) and len(set(names)) == len(names)
    return [
        replace(
            band,
            index=index,
            count=len(headers),
            variable=to_variable(name if speaking else f"{band.asset}_{index}"),
            names=(name,) if name else (),
        )
        for index, name in enumerate(names, start=1)
    ]


def _add_quality(
    chosen: list[tuple[str, AssetBand]], offered: Sequence[AssetBand], profile: Profile | None
) -> Choice:
    found, rule = None, None
    if profile and profile.quality_band:
        matches = find_bands(offered, profile.quality_band, profile)
        found, rule = (matches[0][1] if matches else None), profile.mask_rule
    for band in offered if found is None else ():
        rule = next((key for name in (band.asset, *band.names) if (key := rule_for_band(name))), None)
        if rule is not None:
            found = band
            break
    if found is None:
        return Choice(bands=tuple(chosen))
    found = replace(found, quality=True)
    marked = [
        (name, found if (band.asset, band.index) == (found.asset, found.index) else band)
        for name, band in chosen
    ]
    name = next((name for name, band in marked if band is found), None)
    if name is None:
        name = found.variable
        marked.append((name, found))
    return Choice(bands=tuple(marked), quality_band=name, mask_rule=rule)
