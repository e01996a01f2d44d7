"""Every matcher by its name; what one needs is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.digests import sha256_of_file
from infra.errors import InputError
from models.matching.matches import Matcher
from models.shipped import find_shipped

DEFAULT_MATCHERS = ("sift", "phase")


def build_matcher(name: str, device: str = "cpu", weights: Path | None = None) -> Matcher:
    """Return a matcher that is ready to match.

    Args:
        name: one of :data:`MATCHERS`.
        device: where it computes, as torch spells it: ``cpu``, ``cuda``, ``cuda:1``. SIFT and the identity
            know the CPU only, and take any.
        weights: file of a learned matcher's weights; None for those that come with it.

    Raises:
        InputError: there is no such matcher or device, it takes no weights, or none come with it.
        NotFoundError: there is no such file of weights.
        DataError: the weights do not fit.
    """
    builder = MATCHERS.get(name)
    if builder is None:
        raise InputError(f"There is no matcher {name!r}; choose from {', '.join(MATCHERS)}.")
    if weights is not None and name not in LEARNED_MATCHERS:
        raise InputError(f"The matcher {name!r} takes no weights, but {weights} is given; leave it out.")
    _check_device(device)
    return builder(device, weights)


def digest_weights(names: Iterable[str], weights: Path | None = None) -> dict[str, str]:
    """Name the weights that answers depend on: learned matcher → SHA-256 of its file.

    Args:
        names: of matchers; those that are not learned have none.
        weights: file of a learned matcher's weights; None for those that come with it.

    Raises:
        InputError: none come with one of them.
    """
    learned = [name for name in names if name in LEARNED_MATCHERS]
    return {name: sha256_of_file(weights or find_shipped(name).weights) for name in learned}


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device)
    except RuntimeError:
        raise InputError(f"There is no device {device!r}; give cpu, cuda or cuda:<number>.") from None
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"Device {device!r} is asked for, but {torch.cuda.device_count()} GPUs are here; give cpu."
        )
    if kind.type not in {"cpu", "cuda"}:
        raise InputError(f"Device {device!r} is of a kind that matchers do not use; give cpu or cuda.")


def _build_identity(_device: str, _weights: Path | None) -> Matcher:
    from models.matching.sift import IdentityMatcher

    return IdentityMatcher()


def _build_sift(_device: str, _weights: Path | None) -> Matcher:
    from models.matching.sift import SiftMatcher

    return SiftMatcher()


def _build_phase(device: str, _weights: Path | None) -> Matcher:
    from models.phase_match.matcher import PhaseMatcher

    return PhaseMatcher(device=device)


def _build_template(device: str, _weights: Path | None) -> Matcher:
    from models.registration.templates import TemplateMatcher

    return TemplateMatcher(device=device)


@dataclass(frozen=True)
class _LearnedBuilder:
    """Builds a preset of the learned matcher."""

    preset: str

    def __call__(self, device: str, weights: Path | None) -> Matcher:
        from models.mapglue.matcher import MapGlueMatcher

        return MapGlueMatcher(preset=self.preset, weights=weights, device=device)


def _build_features(device: str, weights: Path | None) -> Matcher:
    from models.downstream.matcher import load_matcher

    return load_matcher(weights or find_shipped(_FEATURES).weights, device)


_FEATURES = "features"
_MAPGLUE_PRESETS = ("mapglue-tiny", "mapglue-fast", "mapglue")
LEARNED_MATCHERS = (*_MAPGLUE_PRESETS, _FEATURES)
MATCHERS: dict[str, Callable[[str, Path | None], Matcher]] = {
    "identity": _build_identity,
    "sift": _build_sift,
    "phase": _build_phase,
    "template": _build_template,
    **{preset: _LearnedBuilder(preset) for preset in _MAPGLUE_PRESETS},
    _FEATURES: _build_features,
}
"""Name of a matcher → what makes it of a device and its weights."""
