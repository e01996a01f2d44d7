"""Exchange JSON with one API over HTTP: patient with passing failures, discreet about the token."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError, TransientError

logger = logging.getLogger(__name__)

_RETRIED_STATUS = frozenset({429, 502, 503, 504})
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Say how often and how patiently a request is tried again."""

    attempts: int = 6
    base_s: float = 0.5
    """Longest wait before the second try; it doubles with each further one."""
    cap_s: float = 30.0
    """Longest wait of our own choosing."""
    retry_after_cap_s: float = 120.0
    """Longest wait that a server may ask for by Retry-After."""
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after_s: float) -> None:
        """Wait after failed try number ``attempt`` (from 0); full jitter keeps clients out of step."""
        own_s = random.uniform(0, min(self.cap_s, self.base_s * 2**attempt))  # noqa: S311 - spreading, no secret
        self.sleep(max(own_s, min(retry_after_s, self.retry_after_cap_s)))


class ConflictError(InputError):
    """The server holds this id already (409)."""


class TooLargeError(InputError):
    """The server takes no body of this size (413)."""


class Exchange:
    """Send requests to one API and to no other.

    Args:
        base_url: Landing page of the API, without user or password.
        token: Bearer token, sent with every request.
        retry: How to try again.

    Raises:
        ConfigError: not an http(s) URL, or a token that no HTTP header can carry.
    """

    def __init__(self, base_url: str, token: str | None, retry: RetryPolicy) -> None:
        self.base_url = _check_url(base_url)
        self._retry = retry
        headers = {"Accept": "application/geo+json, application/json"}
        if token is not None:
            # checked here: the message of a failing encoder would show the token
            if not _TOKEN.fullmatch(token):
                raise ConfigError(
                    "the catalogue token is empty or has characters that no HTTP header carries"
                )
            headers["Authorization"] = f"Bearer {token}"
        self._http = httpx.Client(headers=headers, timeout=_TIMEOUT)

    def __repr__(self) -> str:
        """Show the address, never the token."""
        return f"Exchange({self.base_url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a request until it is answered, within the retry policy; returns the answer's JSON object.

        Args:
            method: ``GET``, ``PUT`` or ``POST``.
            path: Below the landing page, with its query; quoted.
            body: Sent as JSON.

        Raises:
            AppError: sorted by what the caller can do; TransientError after the last try.
        """
        what = f"{method} {self.base_url}{path}"
        failure = "no try was made"
        for attempt in range(self._retry.attempts):
            retry_after_s = 0.0
            try:
                response = self._http.request(method, f"{self.base_url}{path}", json=body)
            except httpx.RequestError as exc:
                failure = f"{type(exc).__name__}: {exc}"
            except (ValueError, TypeError) as exc:
                raise InputError(f"{what}: the body cannot be written as JSON: {exc}") from exc
            else:
                if response.status_code not in _RETRIED_STATUS:
                    return _read_answer(response, what)
                failure = f"HTTP {response.status_code}: {_tell(response)}"
                retry_after_s = _read_retry_after(response)
            if attempt + 1 < self._retry.attempts:
                logger.warning("%s failed (%s); try %d follows", what, failure, attempt + 2)
                self._retry.wait(attempt, retry_after_s)
        raise TransientError(
            f"{what} failed {self._retry.attempts} times, last by {failure}", url=self.base_url
        )


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port checks it
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as exc:
        raise ConfigError(
            "the catalogue address is not a URL: expected e.g. https://stac.example.org"
        ) from exc
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(
            "the catalogue address is not an http(s) URL: expected e.g. https://stac.example.org"
        )
    if "@" in parts.netloc:
        raise ConfigError(
            f"the address of catalogue {host} holds a user or password: pass the token apart from it"
        )
    if parts.query or parts.fragment:
        raise ConfigError(f"the address of catalogue {host} has a query: expected the landing page's address")
    return url.rstrip("/")


def _read_answer(response: httpx.Response, what: str) -> dict[str, Any]:
    if response.is_success:
        try:
            content = response.json() if response.content else {}
        except ValueError as exc:
            raise DataError(f"{what}: the answer is not JSON: is this a STAC API?") from exc
        return content if isinstance(content, dict) else {}
    raise _translate(response, what)


def _translate(response: httpx.Response, what: str) -> AppError:
    status, told = response.status_code, _tell(response)
    if status in (401, 403):
        return ConfigError(f"{what}: the catalogue refused the token (HTTP {status}): {told}")
    if status == 404:
        return NotFoundError(f"{what}: not found: {told}")
    if status == 409:
        return ConflictError(f"{what}: conflict: {told}")
    if status == 413:
        return TooLargeError(f"{what}: the body is too large: {told}")
    if 400 <= status < 500:
        return InputError(f"{what}: refused (HTTP {status}): {told}")
    if 300 <= status < 400:
        return ConfigError(f"{what}: the catalogue has moved (HTTP {status}): use its new address")
    return TransientError(f"{what}: the server failed (HTTP {status}): {told}")


def _tell(response: httpx.Response) -> str:
    """Give the server's own words in one line."""
    try:
        content = response.json()
    except ValueError:
        content = None
    words = response.text
    if isinstance(content, dict):
        words = str(content.get("description") or content.get("detail") or words)
    _, _, token = response.request.headers.get("authorization", "").partition(" ")
    if token:  # a server that echoes requests must not bring the token into our logs
        words = words.replace(token, "***")
    return " ".join(words.split())[:300] or response.reason_phrase


def _read_retry_after(response: httpx.Response) -> float:
    """Read Retry-After in seconds; its date form is left to our own waiting."""
    stated = response.headers.get("retry-after", "")
    return float(stated) if stated.isascii() and stated.isdigit() and len(stated) < 7 else 0.0
