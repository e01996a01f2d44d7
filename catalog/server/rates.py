"""Count requests in token buckets: a client may be quick for a while, but not for long."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_MAX_CLIENTS = 10_000
_MINUTE_S = 60.0
_ROUNDING = 1e-6
_NETWORK_BITS = 64
"""An IPv6 customer holds a whole /64 and could take a new address for each request."""


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Say how many requests a client may send in a minute; 0 lifts a limit."""

    writes_per_minute: int = 600
    """For each token; a bulk request counts once, whatever it holds."""
    reads_per_minute: int = 0
    """For each address."""
    failures_per_minute: int = 10
    """Wrong tokens from one address; above it, tokens from there are not even compared."""


class TokenBuckets:
    """Keep one bucket for each client: it holds a minute's requests and fills again evenly.

    Not safe under threads: the server calls it from its event loop only.

    Args:
        per_minute: Requests in a minute; 0 lets all through.
        now: Clock, seconds; only its differences count.
        max_clients: Clients remembered; beyond it the one heard of longest ago is forgotten.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        now: Callable[[], float] = time.monotonic,
        max_clients: int = _MAX_CLIENTS,
    ) -> None:
        self._capacity = float(per_minute)
        self._per_s = per_minute / _MINUTE_S
        self._now = now
        self._max_clients = max_clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Count the clients remembered."""
        return len(self._buckets)

    def wait_s(self, client: str) -> int:
        """Tell how many whole seconds a client must wait before its next request; 0 when it need not."""
        if not self._capacity:
            return 0
        left, _ = self._left(client)
        # a hair's breadth of rounding must not make a client that waited as it was told wait again
        return 0 if left >= 1 - _ROUNDING else math.ceil((1 - left) / self._per_s)

    def take(self, client: str) -> int:
        """Count one request; return the seconds to wait, 0 when it is let through."""
        wait = self.wait_s(client)
        if self._capacity and not wait:
            left, moment = self._left(client)
            self._buckets[client] = (left - 1, moment)
            self._buckets.move_to_end(client)
            if len(self._buckets) > self._max_clients:
                self._buckets.popitem(last=False)
        return wait

    def _left(self, client: str) -> tuple[float, float]:
        moment = self._now()
        left, seen = self._buckets.get(client, (self._capacity, moment))
        return min(self._capacity, left + (moment - seen) * self._per_s), moment


def name_address(client: tuple[str, int] | None) -> str:
    """Name the client of a connection by its address; by its /64 network when that is IPv6.

    Only the connection counts. ``X-Forwarded-For`` is what the client says of itself.
    """
    if client is None:
        return "unknown"
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return client[0][:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))


def is_loopback(client: tuple[str, int] | None) -> bool:
    """Say whether a connection comes from this machine."""
    if client is None:
        return False
    try:
        return ipaddress.ip_address(client[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def name_token(token: bytes) -> str:
    """Name the client that holds a token, without keeping the token."""
    return hashlib.sha256(token).hexdigest()[:16]
