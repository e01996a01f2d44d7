"""Know the catalogues that people name: presets as data, and any URL or path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from catalog.sources.profiles import (
    LANDSAT_C2_L2,
    NAIP,
    SENTINEL_1_GRD,
    SENTINEL_1_RTC,
    SENTINEL_2_L2A,
    Profile,
    guess_profile,
)
from infra.errors import InputError
from infra.grants import granted_roots
from infra.urls import UrlPolicy


@dataclass(frozen=True, kw_only=True)
class SourceCollection:
    """Say what one collection of a preset offers."""

    profile: Profile
    default_bands: tuple[str, ...]
    """Bands read when the user names none."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Name one catalogue to read from."""

    name: str
    """Preset name, or ``local`` or ``remote``."""
    location: str
    """URL or absolute path of the catalogue."""
    signer: str | None = None
    """Key of ``catalog.sources.signing.SIGNERS``; None for open data."""
    collections: Mapping[str, SourceCollection] = field(default_factory=dict)
    """What is known of its collections; others are read by what their items say."""
    extra_hosts: tuple[str, ...] = ()
    """Hosts the user trusts besides the catalogue's own (``infra.urls``)."""
    extra_roots: tuple[str, ...] = ()
    """Folders the user trusts besides the catalogue's own."""

    @property
    def is_remote(self) -> bool:
        """True when the catalogue is read by http(s)."""
        return self.location.startswith(("http://", "https://"))

    def policy(self) -> UrlPolicy:
        """Make the policy on what this catalogue may have us read."""
        return UrlPolicy.for_catalogue(
            self.location, extra_hosts=self.extra_hosts, extra_roots=self.extra_roots
        )

    def profile(self, collection: str, constellation: str | None = None) -> Profile | None:
        """Find what is known of a collection: the preset's entry, else by its id."""
        listed = self.collections.get(collection)
        return listed.profile if listed else guess_profile(collection, constellation)


_TRUE_COLOUR = ("red", "green", "blue", "nir")

PRESETS: dict[str, Source] = {
    "earth-search": Source(
        name="earth-search",
        location="https://earth-search.aws.element84.com/v1",
        collections={
            "sentinel-2-l2a": SourceCollection(profile=SENTINEL_2_L2A, default_bands=_TRUE_COLOUR),
            "sentinel-2-c1-l2a": SourceCollection(profile=SENTINEL_2_L2A, default_bands=_TRUE_COLOUR),
            "sentinel-1-grd": SourceCollection(profile=SENTINEL_1_GRD, default_bands=("vv", "vh")),
            "landsat-c2-l2": SourceCollection(
                profile=LANDSAT_C2_L2, default_bands=("red", "green", "blue", "nir08")
            ),
        },
    ),
    "planetary-computer": Source(
        name="planetary-computer",
        location="https://planetarycomputer.microsoft.com/api/stac/v1",
        signer="planetary-computer",
        collections={
            "sentinel-2-l2a": SourceCollection(
                profile=SENTINEL_2_L2A, default_bands=("B04", "B03", "B02", "B08")
            ),
            "sentinel-1-grd": SourceCollection(profile=SENTINEL_1_GRD, default_bands=("vv", "vh")),
            "sentinel-1-rtc": SourceCollection(profile=SENTINEL_1_RTC, default_bands=("vv", "vh")),
            "landsat-c2-l2": SourceCollection(
                profile=LANDSAT_C2_L2, default_bands=("red", "green", "blue", "nir08")
            ),
            "naip": SourceCollection(profile=NAIP, default_bands=_TRUE_COLOUR),
        },
    ),
}
"""Catalogues by name. ``local`` is no fixed place: any path is one."""


def resolve_source(text: str, *, extra_roots: Iterable[str] = (), extra_hosts: Iterable[str] = ()) -> Source:
    """Find the catalogue a user means.

    Args:
        text: Preset name, http(s) URL, or path of a catalogue folder or JSON file (also ``local:PATH``).
        extra_roots: Folders the user trusts besides the catalogue's own.
        extra_hosts: Hosts the user trusts besides the catalogue's own.

    Raises:
        InputError: no such preset or path; the nearest preset is named.
    """
    source = _find_source(text)
    return replace(
        source,
        extra_roots=(*source.extra_roots, *extra_roots),
        extra_hosts=(*source.extra_hosts, *extra_hosts),
    )


def _find_source(text: str) -> Source:
    if text in PRESETS:
        return PRESETS[text]
    if text.startswith(("http://", "https://")):
        return _remote_source(text)
    path = Path(text.removeprefix("local:").removeprefix("file://")).expanduser()
    if text != "local" and path.exists():
        resolved = path.resolve()
        return Source(name="local", location=str(resolved), extra_roots=granted_roots(resolved))
    raise InputError(_unknown_source(text))


def _remote_source(url: str) -> Source:
    plain = url.rstrip("/")
    for preset in PRESETS.values():
        if plain == preset.location:
            return preset
    UrlPolicy.for_catalogue(url)  # refuse a malformed one here, where the user named it
    return Source(name="remote", location=url)


def _unknown_source(text: str) -> str:
    names = ", ".join(PRESETS)
    if text == "local":
        return "source 'local' is a folder of yours: give its path, e.g. --source ./my-catalogue"
    if "/" in text or text.startswith(("local:", "file:", ".", "~")) or text.endswith("json"):
        return (
            f"source {text!r} does not exist; give a catalogue's folder or JSON file, a URL or one of {names}"
        )
    near = difflib.get_close_matches(text.lower(), PRESETS, n=1)
    if near:
        return f"unknown source {text!r}; did you mean {near[0]!r}?"
    return f"unknown source {text!r}; use one of {names}, a URL, or the path of a catalogue"
