"""Keep the vectors of tags already encoded, so that every distinct tag is encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from infra.errors import DataError, InputError, InternalError
from models.tag_text.protocol import TextEncoder

_PARTS = {"encoder": np.dtype(np.uint8), "ends": np.dtype(np.int64), "texts": np.dtype(np.uint8)}


@dataclass(frozen=True, kw_only=True, eq=False)
class TagVectors:
    """Hold the vectors of k distinct texts, all from one encoder."""

    encoder: str
    """Name of the encoder that made them."""
    texts: tuple[str, ...]
    vectors: NDArray[np.float32]
    """``(k, width)``."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {text: row for row, text in enumerate(self.texts)}

    def __contains__(self, text: str) -> bool:
        """Say whether a text's vector is here."""
        return text in self._rows

    def select(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of some texts, ``(n, width)`` float32, in their order.

        Raises:
            InputError: one of them has not been encoded.
        """
        try:
            rows = [self._rows[text] for text in texts]
        except KeyError as exc:
            raise InputError(f"tag {exc.args[0]!r} has no vector yet; call encode_distinct first") from exc
        return self.vectors[np.array(rows, np.int64)]


def encode_distinct(
    texts: Sequence[str], encoder: TextEncoder, known: TagVectors | None = None
) -> TagVectors:
    """Encode each distinct text that is not known yet, all in one call of the encoder.

    Args:
        texts: In any order, repetitions allowed.
        encoder: Called once, with distinct texts; not at all when everything is known.
        known: What earlier calls returned, or ``load_tag_vectors``; of the same encoder.

    Returns:
        The known vectors followed by the new ones, in order of first appearance.

    Raises:
        InputError: ``known`` comes from another encoder.
        InternalError: the encoder returned another shape than it promised.
    """
    if known is None:
        known = TagVectors(encoder=encoder.name, texts=(), vectors=np.empty((0, encoder.width), np.float32))
    if known.encoder != encoder.name:
        raise InputError(
            f"known tag vectors are of {known.encoder!r}, the encoder is {encoder.name!r}: start without them"
        )
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if not new:
        return known
    made = encoder.encode(new)
    if made.shape != (len(new), encoder.width) or not np.all(np.isfinite(made)):
        raise InternalError(f"{encoder.name} returned {made.shape}, or not numbers, for {len(new)} texts")
    vectors = np.concatenate([known.vectors, made.astype(np.float32, copy=False)])
    return TagVectors(encoder=encoder.name, texts=(*known.texts, *new), vectors=vectors)


def save_tag_vectors(known: TagVectors) -> bytes:
    """Write vectors as safetensors: the same bytes for the same content."""
    encoded = [text.encode(errors="surrogatepass") for text in known.texts]
    return save(
        {
            "encoder": np.frombuffer(known.encoder.encode(), np.uint8),
            "ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
            "texts": np.frombuffer(b"".join(encoded), np.uint8),
            "vectors": np.ascontiguousarray(known.vectors, np.float32),
        }
    )


def load_tag_vectors(content: bytes, encoder: TextEncoder) -> TagVectors:
    """Read what ``save_tag_vectors`` wrote, for the encoder that will add to it.

    Raises:
        DataError: the bytes are no such file, are damaged, or hold another encoder's vectors.
    """
    try:
        parts = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as exc:
        raise DataError(f"tag vectors cannot be read as safetensors ({exc}); delete them") from exc
    _check_parts(parts, encoder)
    ends = parts["ends"].tolist()
    blob, starts = parts["texts"].tobytes(), [0, *ends[:-1]]
    try:
        spelt = [blob[start:end] for start, end in zip(starts, ends, strict=False)]
        texts = tuple(text.decode(errors="surrogatepass") for text in spelt)
    except UnicodeDecodeError as exc:
        raise DataError("tag vectors hold texts that are not UTF-8; delete them") from exc
    if len(set(texts)) != len(texts):
        raise DataError("tag vectors hold a text twice; delete them")
    return TagVectors(encoder=encoder.name, texts=texts, vectors=parts["vectors"])


def _check_parts(parts: dict[str, NDArray[np.generic]], encoder: TextEncoder) -> None:
    dtypes = _PARTS | {"vectors": np.dtype(np.float32)}
    if {name: part.dtype for name, part in parts.items()} != dtypes:
        raise DataError(f"tag vectors hold {sorted(parts)}; expected {sorted(dtypes)} in their types")
    written = parts["encoder"].tobytes().decode(errors="replace")
    if written != encoder.name:
        raise DataError(f"tag vectors are of {written!r}, the encoder is {encoder.name!r}; delete them")
    ends, vectors = parts["ends"], parts["vectors"]
    steps = np.diff(ends.astype(np.int64).ravel(), prepend=0)
    whole = ends.ndim == 1 and (int(ends[-1]) if ends.size else 0) == parts["texts"].size
    if not whole or np.any(steps < 0) or vectors.shape != (ends.size, encoder.width):
        raise DataError(f"tag vectors are damaged ({ends.size} texts, {vectors.shape} vectors); delete them")
    if not np.all(np.isfinite(vectors.astype(np.float32))):
        raise DataError("tag vectors hold numbers that are not finite; delete them")
