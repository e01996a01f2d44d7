"""Decide what a foreign catalogue may make us read: which schemes, hosts and folders.

    the catalogue is at        it may name
    https://host               https anywhere public, s3, and anything http(s) on its own host
    http://host                the same, and http
    http(s) on loopback        the above, and http(s) on loopback
    http(s) on a private host  the above, and http(s) on that same host
    a folder                   https anywhere public, s3, and files below that folder

Everything else is refused: credentials in addresses, metadata services, GDAL's own path syntax, links
that climb out of the folder. ``check`` asks nobody and is fit for planning. A public *name* can still
stand for a private *address*; ``check_resolved`` asks the name service and belongs just before a read.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from infra.errors import InputError, TransientError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+._-]*):")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
_GDAL_QUERY = re.compile(r"(^|[?&=/])vsi[a-z0-9_]*", re.IGNORECASE)
_LOCAL_NAMES = (".local", ".internal", ".lan", ".intranet", ".corp", ".home", ".localdomain", ".home.arpa")
_ID = re.compile(r"^[^\x00-\x1f\x7f-\x9f/\\]+$")
_ID_LENGTH = 200  # leaves room for a prefix and a hash within the 255 bytes that file systems allow
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_WEB = ("http", "https")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(StrEnum):
    """Say what kind of place a host is."""

    PUBLIC = "public"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    RESERVED = "reserved"


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """Hold what one catalogue may make us read; made by ``for_catalogue``."""

    location: str
    """The catalogue itself: absolute URL, or absolute path."""
    roots: tuple[str, ...] = ()
    """Folders whose files may be read, resolved; empty for a remote catalogue."""
    extra_hosts: tuple[str, ...] = ()
    """``host`` or ``host:port`` that the user allows besides, by http and https."""

    @classmethod
    def for_catalogue(
        cls, location: str, *, extra_hosts: Iterable[str] = (), extra_roots: Iterable[str | Path] = ()
    ) -> Self:
        """Make the policy of a catalogue from the place it is read from.

        Args:
            location: http(s) URL, ``file://`` URL or path of a folder or JSON file.
            extra_hosts: Hosts the user trusts besides, e.g. ``127.0.0.1:9000``.
            extra_roots: Folders the user trusts besides.

        Raises:
            InputError: the location is malformed or of another scheme.
        """
        hosts = tuple(sorted(host.lower() for host in extra_hosts))
        extra = tuple(str(Path(root).expanduser().resolve()) for root in extra_roots)
        scheme = _scheme_of(location)
        if scheme in _WEB:
            return cls(location=_normal_url(location), roots=extra, extra_hosts=hosts)
        if scheme not in ("", "file"):
            raise InputError(
                f"catalogue {location!r}: scheme {scheme!r} is not read; use https, http or a path"
            )
        path = Path(_path_of(location)).expanduser().resolve()
        root = path if path.is_dir() else path.parent
        return cls(location=str(path), roots=(str(root), *extra), extra_hosts=hosts)

    def check(self, href: str, *, base: str | None = None) -> str:
        """Return an address in absolute, normal form if the catalogue may name it. Asks no name service.

        Args:
            href: URL or path as the catalogue spells it.
            base: What a relative href is relative to; the catalogue itself when None.

        Raises:
            InputError: naming the address, the rule it breaks and the mend.
        """
        _refuse_odd_spelling(href)
        scheme = _scheme_of(href)
        if not scheme and href.startswith("//"):
            raise _refusal(href, "it names no scheme", "spell it out: https://…")
        if not scheme:
            href = _join(base or self.location, href)
            scheme = _scheme_of(href)
        if scheme in _WEB:
            return self._check_web(href)
        if scheme == "s3":
            return _check_s3(href)
        if scheme in ("", "file"):
            return self._check_file(href)
        raise _refusal(
            href, f"scheme {scheme!r} is not among https, http, s3 and file", "offer it by https or s3"
        )

    def check_resolved(self, href: str) -> str:
        """Check an address again just before a read, with the addresses its host name stands for now.

        Behind a proxy it is the proxy that resolves names, so nothing is asked then.

        Raises:
            InputError: the name stands for an address that the catalogue may not name.
            TransientError: the name cannot be resolved now.
        """
        href = self.check(href)
        parts = urlsplit(href)
        host = parts.hostname or ""
        if parts.scheme not in _WEB or self._is_trusted(parts) or _goes_through_proxy(parts.scheme, host):
            return href
        for address in _resolve(host, href):
            self._check_reach(href, host, _reach_of_address(address), found=f"{host} is {address}")
        return href

    def _check_web(self, href: str) -> str:
        href = _normal_url(href)
        parts = urlsplit(href)
        if self._is_trusted(parts):
            return href
        if parts.scheme == "http" and _scheme_of(self.location) != "http":
            raise _refusal(
                href, f"plain http, and the catalogue {self.location} is not http", "offer it by https"
            )
        host = parts.hostname or ""
        self._check_reach(href, host, reach_of_host(host), found=host)
        return href

    def _check_reach(self, href: str, host: str, reach: Reach, *, found: str) -> None:
        if reach is Reach.PUBLIC:
            return
        own = urlsplit(self.location).hostname if _scheme_of(self.location) in _WEB else None
        if own is not None and reach is Reach.LOOPBACK and reach_of_host(own) is Reach.LOOPBACK:
            return
        if own is not None and reach is Reach.PRIVATE and host == own:
            return
        mend = f"read the catalogue from that host, or allow {host!r} in extra_hosts"
        raise _refusal(
            href, f"{found}: a {reach} address, and the catalogue {self.location} is not there", mend
        )

    def _is_trusted(self, parts: SplitResult) -> bool:
        host = parts.hostname or ""
        if host in self.extra_hosts or f"{host}:{_port_of(parts)}" in self.extra_hosts:
            return True
        own = urlsplit(self.location)
        # The user named this host, so what it resolves to is the user's choice; http only if it was http.
        return own.scheme in _WEB and host == own.hostname and parts.scheme in ("https", own.scheme)

    def _check_file(self, href: str) -> str:
        if not self.roots:
            raise _refusal(
                href, f"a local file, and the catalogue {self.location} is remote", "offer it by https"
            )
        path = Path(_path_of(href))
        if not path.is_absolute():
            path = Path(self.location) / path
        if "%" in href and not path.exists():
            path = Path(unquote(str(path)))  # a relative href is a URI reference; most writers do not encode
        resolved = path.resolve()
        if not any(resolved.is_relative_to(root) for root in self.roots):
            mend = "move it there, or name its folder in the setting sources.extra_roots"
            raise _refusal(href, f"{resolved} is outside the catalogue's folder {self.roots[0]}", mend)
        if resolved.suffix.lower() == ".vrt":
            raise _refusal(
                href, "a VRT names further files that nobody has checked", "translate it to a GeoTIFF"
            )
        return str(resolved)


def check_id(identifier: object, *, what: str = "id") -> str:
    r"""Return an id from a catalogue if it is fit for a file name and a URL segment.

    Raises:
        InputError: empty, too long, or with ``/``, ``\``, ``..`` or control characters.
    """
    if not isinstance(identifier, str) or not identifier.strip():
        raise InputError(f"{what} {identifier!r} is not a text; STAC asks for a non-empty one")
    if len(identifier.encode()) > _ID_LENGTH:
        raise InputError(f"{what} {identifier[:40]!r}… is longer than {_ID_LENGTH} bytes; shorten it")
    if not _ID.match(identifier) or ".." in identifier or identifier == ".":
        raise InputError(
            f"{what} {identifier!r} holds a slash, '..' or a control character; "
            "rename it in the catalogue: it becomes part of a path"
        )
    return identifier


def reach_of_host(host: str) -> Reach:
    """Tell what kind of place a host is from its spelling alone, odd spellings of addresses included."""
    address = _parse_address(host)
    if address is not None:
        return _reach_of_address(address)
    if host == "localhost" or host.endswith((".localhost", "localhost.localdomain")):
        return Reach.LOOPBACK
    return Reach.PRIVATE if "." not in host or host.endswith(_LOCAL_NAMES) else Reach.PUBLIC


def _reach_of_address(address: _Address) -> Reach:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _reach_of_address(inner)
    if address.is_loopback or address.is_unspecified:
        return Reach.LOOPBACK
    if address.is_link_local:
        return Reach.LINK_LOCAL
    if address.is_multicast or address.is_reserved:
        return Reach.RESERVED
    return Reach.PUBLIC if address.is_global else Reach.PRIVATE


def _parse_address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    # inet_aton reads what browsers and curl read: 2130706433, 0x7f.1, 0177.0.0.1, 127.1. No name lookup.
    if re.fullmatch(r"[0-9a-fxA-FX.]+", host) and host[0].isdigit():
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return None


def _normal_url(href: str) -> str:
    _refuse_odd_spelling(href)
    try:
        parts = urlsplit(href)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise _refusal(href, f"it cannot be read as a URL ({exc})", "correct it") from exc
    if "@" in parts.netloc:
        raise _refusal(_without_userinfo(parts), "it carries a user name or password", "remove that part")
    if not host or "%" in parts.netloc:
        raise _refusal(href, "its host is missing or percent-encoded", "write the host name plainly")
    netloc = _normal_host(host, href) + (f":{port}" if port is not None else "")
    return urlunsplit((parts.scheme.lower(), netloc, parts.path or "/", parts.query, ""))


def _normal_host(host: str, href: str) -> str:
    if ":" in host:
        return f"[{host.lower()}]"
    try:
        # Also folds full-width digits and ideographic dots, which name services would read as ASCII.
        plain = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError as exc:
        raise _refusal(href, f"host {host!r} is not a host name", "correct it") from exc
    if not re.fullmatch(r"[a-z0-9._-]+", plain):
        raise _refusal(href, f"host {host!r} is not a host name", "correct it")
    return plain


def _refuse_odd_spelling(href: str) -> None:
    if not href:
        raise _refusal(repr(href), "it is empty", "name a file or URL")
    local = _scheme_of(href) in ("", "file")
    if _CONTROL.search(href.replace(" ", "_") if local else href):
        raise _refusal(ascii(href), "it holds white space or control characters", "percent-encode them")
    if "\\" in href:
        raise _refusal(href, "it holds a backslash", "use '/'")
    plain = unquote(href).lower()
    if plain.startswith(("/vsi", "file:///vsi")) or _GDAL_QUERY.search(urlsplit(plain).query):
        raise _refusal(href, "it is GDAL's own path syntax", "name the file itself")
    if urlsplit(plain).path.endswith(".vrt"):
        raise _refusal(href, "a VRT names further files that nobody has checked", "translate it to a GeoTIFF")


def _check_s3(href: str) -> str:
    parts = urlsplit(href)
    if not _BUCKET.match(parts.netloc) or not parts.path.strip("/") or parts.query or parts.fragment:
        raise _refusal(href, "it is not s3://bucket/key", "correct it")
    if ".." in unquote(parts.path).split("/"):
        raise _refusal(href, "its key climbs with '..'", "spell the key out")
    return href


def _scheme_of(href: str) -> str:
    found = _SCHEME.match(href)
    return found.group(1).lower() if found else ""


def _path_of(href: str) -> str:
    if _scheme_of(href) != "file":
        return href
    parts = urlsplit(href)
    if parts.netloc not in ("", "localhost"):
        raise _refusal(href, f"a file on another machine ({parts.netloc})", "name a local file: file:///…")
    return unquote(parts.path)


def _join(base: str, href: str) -> str:
    if _scheme_of(base) in (*_WEB, "s3"):
        if _scheme_of(base) == "s3":  # urljoin knows s3 not; it reads it as it reads https
            return "s3" + urljoin("https" + base[2:], href)[5:]
        return urljoin(base, href)
    folder = Path(_path_of(base))
    return str((folder if folder.is_dir() else folder.parent) / href)


def _port_of(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _without_userinfo(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2]))


def _goes_through_proxy(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _resolve(host: str, href: str) -> list[_Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as exc:
        raise TransientError(f"{href}: host {host} cannot be resolved now ({exc}); try again later") from exc
    return sorted({ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found}, key=int)


def _refusal(href: str, rule: str, mend: str) -> InputError:
    return InputError(f"refused to read {href}: {rule}; {mend}", href=href)
