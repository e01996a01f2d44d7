"""Make the next pieces of work in a thread while the last one is used, a few ahead and no more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
_POLL_S = 0.2


class _End(Generic[Piece]):
    """Marks the end of the pieces, with what went wrong if something did."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure


def read_ahead(pieces: Iterable[Piece], *, depth: int = 2) -> Iterator[Piece]:
    """Yield pieces that a thread of its own makes, at most ``depth`` ahead.

    The thread ends when its pieces do, when one fails (the failure is raised here, in its turn), and soon
    after nobody wants more.

    Args:
        pieces: What to make; consumed in the thread.
        depth: How many to hold ready.
    """
    ready: queue.Queue[Piece | _End[Piece]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(piece: Piece | _End[Piece]) -> None:
        while not stopped.is_set():
            try:
                ready.put(piece, timeout=_POLL_S)
            except queue.Full:
                continue
            return

    def work() -> None:
        failure: BaseException | None = None
        try:
            for piece in pieces:
                put(piece)
                if stopped.is_set():
                    return
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that asked
            failure = exc
        put(_End(failure))

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(piece := ready.get(), _End):
            yield piece
        if piece.failure is not None:
            raise piece.failure
    finally:
        stopped.set()
        thread.join()
