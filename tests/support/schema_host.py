"""Stand in for the hosts of published schemas, so that other people's validators run without the network.

A validator in a process of its own is led here by ``HTTPS_PROXY``; it believes the certificates because
``REQUESTS_CA_BUNDLE`` and ``SSL_CERT_FILE`` name the authority that made them.
"""

from __future__ import annotations

import functools
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import trustme

from tests.support.schemas import locate_schema

_INSTALLED = ("https://schemas.stacspec.org/v1.1.0/", "https://geojson.org/")


@contextmanager
def serving_schemas(folder: Path) -> Iterator[dict[str, str]]:
    """Answer requests for schemas on loopback; yields the environment that leads a process here.

    Args:
        folder: Where the authority's certificate is put.
    """
    authority = trustme.CA()
    bundle = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))

    class Handler(_Tunnel):
        context = functools.lru_cache(lambda host: _make_context(authority, host))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield {
                "HTTPS_PROXY": f"http://127.0.0.1:{server.server_address[1]}",
                "NO_PROXY": "127.0.0.1,localhost",
                "REQUESTS_CA_BUNDLE": str(bundle),
                "SSL_CERT_FILE": str(bundle),
            }
        finally:
            server.shutdown()
            thread.join()


class _Tunnel(socketserver.StreamRequestHandler):
    """Open a tunnel as a proxy does, and be the host at its other end."""

    timeout = 30  # seconds; a client that falls silent must not keep the tests waiting

    context: ClassVar[object]

    def handle(self) -> None:
        _, place, _ = self.rfile.readline().decode("ascii").split(" ", 2)
        host = place.partition(":")[0]
        _skip_headers(self.rfile)
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with type(self).context(host).wrap_socket(self.connection, server_side=True) as secure:
            stream = secure.makefile("rb")
            _, path, _ = stream.readline().decode("ascii").split(" ", 2)
            _skip_headers(stream)
            secure.sendall(_answer(f"https://{host}{path}"))


def _make_context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def _answer(url: str) -> bytes:
    # other hosts, such as those of assets, are not there: only what is installed with pystac is answered
    file = locate_schema(url) if url.startswith(_INSTALLED) else None
    found = file is not None and file.is_file()
    body = file.read_bytes() if file is not None and found else b"{}"
    status = "200 OK" if found else "404 Not Found"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _skip_headers(stream) -> None:
    while stream.readline().strip():
        pass
