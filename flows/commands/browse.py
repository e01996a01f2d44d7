"""Hold the command that shows the catalogue in a web browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.serve import mount_browser, prepare_app, until_stopped
from infra.errors import AppError
from infra.settings import cache_home, load_settings

_PUBLIC_ORIGIN = "https://radiantearth.github.io"
_PUBLIC_PAGE = f"{_PUBLIC_ORIGIN}/stac-browser/#/external/"


def browse(
    store: Annotated[
        str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one  [default: 8081]")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page at once")] = True,
) -> int:
    """Show the store's catalogue in STAC Browser, read-only, until Ctrl-C.

    The first time, STAC Browser is built with Node.js from the npm registry (two to three minutes); after
    that no network is needed.

    Example: terraloom browse --store ./store
    """
    settings = load_settings(os.environ)
    folder, reason = _find_or_build()
    # Without pages of our own, the public ones may read what this command serves: nobody else gains.
    origins = () if folder else (_PUBLIC_ORIGIN,)
    app = prepare_app(settings, store, read_only=True, origins=origins)
    from catalog.server.app import serving

    path = mount_browser(app, folder)
    number = settings.serve.port if port is None else port
    with until_stopped() as stopped, serving(app, host=settings.serve.host, port=number) as url:
        page = f"{url}/{path}/" if path else public_page(url)
        _say(f"STAC Browser at {page} (Ctrl-C stops)")
        if reason:
            _say(f"That is the public one, because {reason}; it works only where it can reach {url}/")
        if open_page and not webbrowser.open(page):
            _say("No web browser could be started here: open the address yourself")
        stopped.wait()
    return 0


def public_page(url: str) -> str:
    """Spell the address that opens a catalogue in the public STAC Browser.

    Args:
        url: Root of the API, without a slash at its end.
    """
    scheme, _, rest = url.partition("://")
    return f"{_PUBLIC_PAGE}{'' if scheme == 'https' else scheme + ':/'}{rest}/"


def _find_or_build() -> tuple[Path | None, str]:
    """Return the folder of STAC Browser; None, and why, where this machine has no Node.js to build it."""
    from catalog.browser.build import build_browser, find_build
    from catalog.browser.toolchain import find_node

    cache = cache_home(os.environ)
    folder = find_build(cache)
    if folder is not None:
        return folder, ""
    try:
        node = find_node(os.environ)
    except AppError as exc:
        return None, exc.message
    return build_browser(cache, node, environ=os.environ, tell=_say), ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
