"""Fetch JSON documents of catalogues, under the URL policy, with timeouts and retries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Self

import requests
from pystac import Link
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from catalog.sources.signing import unsigned
from infra.errors import AppError, DataError, InputError, NotFoundError, TransientError
from infra.urls import UrlPolicy

TIMEOUT_S = (3.05, 30.0)
"""To connect (just above one TCP retransmission), and between two bytes."""
_BUSY = (429, 500, 502, 503, 504)
_POOL = 8


def _retries() -> Retry:
    # Connecting is tried three times, so that a catalogue that is not there is reported within 10 s. A busy
    # one is asked five times, 0.5 s to 8 s apart with jitter, or as it says in Retry-After.
    return Retry(
        total=6,
        connect=2,
        read=2,
        status=5,
        backoff_factor=0.5,
        backoff_max=8.0,
        backoff_jitter=0.5,
        status_forcelist=_BUSY,
        allowed_methods=frozenset({"GET", "POST"}),  # a search by POST changes nothing
        retry_after_max=20,
        raise_on_status=False,
    )


class PolicySession(requests.Session):
    """Send requests only where the catalogue may have us read; redirects are checked like any other."""

    def __init__(self, policy: UrlPolicy) -> None:
        super().__init__()
        self._policy = policy
        adapter = HTTPAdapter(max_retries=_retries(), pool_maxsize=_POOL)
        self.mount("http://", adapter)
        self.mount("https://", adapter)
        self.headers["User-Agent"] = "terraloom"

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401
        """Check the address, then send; requests sends each redirect through here too."""
        self._policy.check_resolved(request.url or "")
        return super().send(request, **kwargs)


class JsonReader:
    """Read JSON documents by path or http(s); a context that closes its connections; safe to share.

    Args:
        policy: What may be read.
    """

    def __init__(self, policy: UrlPolicy) -> None:
        self.policy = policy
        self.api = StacApiIO(timeout=TIMEOUT_S)
        self.api.session = PolicySession(policy)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close its connections."""
        self.api.session.close()

    def read(self, href: str) -> dict[str, Any]:
        """Read one document.

        Raises:
            InputError: outside the policy.
            NotFoundError: there is none, or its host cannot be reached.
            DataError: it is not a JSON object.
            TransientError: the host stays busy.
        """
        if href.startswith(("http://", "https://")):
            return self.request(href)
        path = Path(self.policy.check(href))
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
            raise NotFoundError(f"{path} does not exist; correct the link to it") from exc
        except OSError as exc:
            raise NotFoundError(f"{path} cannot be opened: {exc.strerror}") from exc
        except ValueError as exc:
            raise DataError(f"{path} is not JSON: {exc}") from exc
        return _object(content, str(path))

    def request(
        self, link: str | Link, parameters: dict[str, Any] | None = None, method: str = "GET"
    ) -> dict[str, Any]:
        """Read one document by http(s).

        Args:
            link: URL, or a ``pystac.Link`` with method, headers and body, as paging gives it.
            parameters: Query of a GET, body of a POST.
            method: For a URL; a link brings its own.

        Raises:
            InputError, NotFoundError, DataError, TransientError: as ``read``.
        """
        place = unsigned(link if isinstance(link, str) else str(link.href))
        try:
            if isinstance(link, str):
                text = self.api.read_text(link, method=method, parameters=parameters)
            else:
                text = self.api.read_text(link, parameters=parameters)
        except APIError as exc:
            raise _translate(exc, place) from exc
        try:
            return _object(json.loads(text), place)
        except ValueError as exc:
            raise DataError(f"{place} did not answer with JSON: {exc}; is it a STAC catalogue?") from exc


def _translate(exc: APIError, place: str) -> AppError:
    # StacApiIO turns every failure into an APIError and keeps the cause only as context.
    cause = exc.__context__
    if isinstance(cause, AppError):
        return cause
    status = getattr(exc, "status_code", None)
    if status is None:
        return NotFoundError(
            f"catalogue {place} cannot be reached: {_reason(cause or exc)}; check the address and the network"
        )
    answer = " ".join(str(exc).split())[:200]
    if status in _BUSY:
        return TransientError(f"catalogue {place} keeps answering {status} ({answer}); try again later")
    if status in (404, 410):
        return NotFoundError(f"{place} does not exist (HTTP {status}); correct the address", status=status)
    if status in (401, 403):
        return NotFoundError(f"{place} asks for permission (HTTP {status}): {answer}", status=status)
    return InputError(f"{place} refused the request (HTTP {status}): {answer}", status=status)


def _reason(exc: BaseException) -> str:
    inner = exc.args[0] if exc.args else exc
    reason = str(getattr(inner, "reason", inner))
    # urllib3 puts the connection's name before what happened.
    return re.sub(r"^(<[^>]*>|HTTPS?Connection(Pool)?\([^)]*\)): ", "", reason) or type(exc).__name__


def _object(content: object, place: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise DataError(f"{place} holds a JSON {type(content).__name__}, not a STAC object")
    return content
