"""Turn tags into vectors without a model: hashed pieces of words, the same on every machine.

A tag's key and value each become a direction; their sum is the tag's. A direction sums signed unit vectors,
one for every run of 3 to 5 letters within a word (blanks at its ends count) and one, of more weight, for the
whole text. So ``highway:residential`` lies near ``highway:tertiary`` (same key) and nearer
``highway:residential_link``, and ``natural:water`` lies near ``water:lake``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError
from models.tag_text.protocol import CLIP_NORM, CLIP_WIDTH

_RUN_LENGTHS = (3, 4, 5)
_WHOLE_WEIGHT = 4.0  # about a short word's number of runs: equal words pull as much as alike ones
_TEXTS_AT_ONCE = 1024  # the float64 sums of one step then fit the processor's cache: 4 MiB
_BLANK, _STOP = ord(" "), ord("\n")
_MEANS_ITS_KEY = "yes"  # building=yes says no more than building
_VERSION = 1  # raise when any vector changes

_Codes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class HashedTextEncoder:
    """Encode tags by hashed runs of letters: deterministic, offline, the same to the bit in any batch.

    Vectors are as long as CLIP's (``CLIP_NORM``), so that either encoder can feed the same network. A text
    without a letter becomes zeros.

    Attributes:
        width: Numbers per vector, 8 to 65,536.
    """

    width: int = CLIP_WIDTH

    def __post_init__(self) -> None:
        """Refuse a width that tells no tags apart.

        Raises:
            InputError: the width is outside 8 to 65,536.
        """
        if not 8 <= self.width <= 65_536:
            raise InputError(f"width of hashed tag vectors is {self.width}; expected 8 to 65536, usually 512")

    @property
    def name(self) -> str:
        """Name, version and width."""
        return f"hashed-ngrams/{_VERSION}/{self.width}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode n tags ``key:value`` as ``(n, width)`` float32; every row is ``CLIP_NORM`` long, or zero."""
        out = np.zeros((len(texts), self.width), np.float32)
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            out[start : start + len(some)] = self._encode_some(some)
        return out

    def _encode_some(self, texts: Sequence[str]) -> NDArray[np.float64]:
        # keys repeat in almost every text: each distinct part is hashed once
        distinct, where = _number_distinct([part for text in texts for part in _split_tag(text)])
        directions = _scale_rows(self._sum_pieces(distinct), 1.0)
        sums: NDArray[np.float64] = directions[where[0::2]] + directions[where[1::2]]
        return _scale_rows(sums, CLIP_NORM)

    def _sum_pieces(self, parts: list[str]) -> NDArray[np.float64]:
        """Sum the signed pieces of m parts into ``(m, width)``; all terms are whole, so the sum is exact."""
        hashes, rows, weights = _hash_pieces(parts)
        columns = ((hashes >> np.uint64(32)) * np.uint64(self.width)) >> np.uint64(32)
        signed = np.where(hashes & np.uint64(1), weights, -weights)
        flat = rows * self.width + columns.astype(np.int64)
        sums = np.bincount(flat, signed, minlength=len(parts) * self.width).astype(np.float64, copy=False)
        return sums.reshape(len(parts), self.width)


def _split_tag(text: str) -> tuple[str, str]:
    """Part a tag at its first colon into two plain spellings: one case, one blank between words."""
    key, _, value = unicodedata.normalize("NFKC", text).casefold().replace("_", " ").partition(":")
    value = " ".join(value.split())
    return " ".join(key.split()), "" if value == _MEANS_ITS_KEY else value


def _number_distinct(parts: list[str]) -> tuple[list[str], NDArray[np.int64]]:
    numbers: dict[str, int] = {}
    where = [numbers.setdefault(part, len(numbers)) for part in parts]
    return list(numbers), np.array(where, np.int64)


def _hash_pieces(parts: list[str]) -> tuple[_Codes, NDArray[np.int64], NDArray[np.float64]]:
    """List the hash, the part's row and the weight of every piece of every part."""
    text = "".join(f" {part} \n" for part in parts)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    stops = codes == _STOP
    rows = np.cumsum(stops) - stops
    found = [_hash_runs(codes, stops, length) for length in _RUN_LENGTHS]
    starts = np.flatnonzero(np.concatenate(([True], stops[:-1]))) if parts else np.empty(0, np.int64)
    spoken = np.array([part != "" for part in parts], bool)
    hashes = np.concatenate([h for h, _ in found] + [_hash_wholes(codes, starts)[spoken]])
    firsts = np.concatenate([at for _, at in found] + [starts[spoken]])
    weights = np.ones(hashes.size)
    weights[hashes.size - int(spoken.sum()) :] = _WHOLE_WEIGHT
    return hashes, rows[firsts].astype(np.int64), weights


def _hash_runs(codes: _Codes, stops: NDArray[np.bool_], length: int) -> tuple[_Codes, NDArray[np.int64]]:
    """Hash every run of letters inside one word, a blank at either end allowed; and say where it begins."""
    count = max(codes.size - length + 1, 0)
    breaks = stops | (codes == _BLANK)
    valid = ~stops[:count] & ~stops[length - 1 : length - 1 + count]
    for inner in range(1, length - 1):
        valid &= ~breaks[inner : inner + count]
    starts = np.flatnonzero(valid)
    total = np.full(starts.size, length, np.uint64)
    for place in range(length):
        total += _mix(codes[starts + place] + np.uint64((place + 1) << 24))
    return _mix(total), starts


def _hash_wholes(codes: _Codes, starts: NDArray[np.int64]) -> _Codes:
    """Hash each part from its start to the next one's: a sum over letters, each mixed with its place."""
    if not starts.size:
        return np.empty(0, np.uint64)
    lengths = np.diff(np.append(starts, codes.size))
    places = np.arange(codes.size) - np.repeat(starts, lengths)
    mixed = _mix(codes + ((places.astype(np.uint64) + np.uint64(64)) << np.uint64(24)))
    return _mix(np.add.reduceat(mixed, starts))


def _mix(numbers: _Codes) -> _Codes:
    """Scatter 64-bit numbers, each into one other, so that near ones part widely.

    Source: the finaliser of SplitMix64; Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014, doi:10.1145/2660193.2660195.
    """
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _scale_rows(rows: NDArray[np.float64], norm: float) -> NDArray[np.float64]:
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    scales: NDArray[np.float64] = norm / np.where(lengths > 0, lengths, 1.0)
    rows *= scales  # in place: these arrays are ours, and large
    return rows
