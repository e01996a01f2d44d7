"""Lend out osmnx's settings, which are one set of globals for the whole process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()


@contextmanager
def osmnx_session(**values: object) -> Iterator[None]:
    """Hold osmnx alone, with these settings; afterwards all is as it was.

    Another thread waits: while one downloads in osmnx's cache-only mode, no other could build a graph.

    Args:
        **values: Names and values of ``osmnx.settings``.
    """
    from osmnx import settings  # brings matplotlib along: a second

    with _LOCK:
        before = {name: getattr(settings, name) for name in values}
        resolve = socket.getaddrinfo  # osmnx pins a server's address by replacing this for the whole process
        try:
            for name, value in values.items():
                setattr(settings, name, value)
            yield
        finally:
            socket.getaddrinfo = resolve
            for name, value in before.items():
                setattr(settings, name, value)
