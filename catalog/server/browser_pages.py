"""Serve a build of STAC Browser beside the API it shows."""

from __future__ import annotations

import json
from pathlib import Path

from fastapi import FastAPI, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

BROWSER = "browser"

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        # Pictures and documents come from this server; the one other host is the basemap one may choose.
        "img-src 'self' data: blob: https://tile.openstreetmap.org",
        "connect-src 'self'",
        "worker-src 'self' blob: data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HASHED = ("js/", "css/", "img/")
"""Folders whose files carry a digest in their names: they never change."""


def add_browser(app: FastAPI, folder: Path, *, title: str) -> None:
    """Serve STAC Browser at ``/browser/``, opened on this API.

    Args:
        app: The API.
        folder: What ``catalog.browser.build`` made.
        title: Name of the catalogue, shown on top.
    """
    app.mount(f"/{BROWSER}", _BrowserPages(folder, title=title), name=BROWSER)


class _BrowserPages(StaticFiles):
    """Answer the files of a build, and the settings that only the running server knows."""

    def __init__(self, folder: Path, *, title: str) -> None:
        super().__init__(directory=folder, html=True)
        self._settings = _spell_settings(title).encode()

    async def get_response(self, path: str, scope: Scope) -> Response:
        if path == "config.js":
            response = Response(self._settings, media_type="text/javascript")
        else:
            response = await super().get_response(path, scope)
        lasting = path.startswith(_HASHED)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _spell_settings(title: str) -> str:
    """Write the script that names the catalogue: the folder above the page, whatever a proxy calls it."""
    return (
        "window.STAC_BROWSER_CONFIG = {"
        f"catalogTitle: {json.dumps(title)}, "
        "catalogUrl: new URL('../', window.location.href).href, "
        "pathPrefix: window.location.pathname"
        "};\n"
    )
