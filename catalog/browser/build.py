"""Build STAC Browser once for this user, from pinned sources, and keep it.

The published package holds sources only. They are fetched and checked against their digest, joined with our
settings, basemap and lock file, and built in a draft folder; what is renamed into place is whole.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from catalog.browser.toolchain import Node, run_logged
from infra.errors import ConfigError, DataError
from infra.storage import translate_os_error

VERSION = "4.0.1"
_PACKAGE = f"@radiantearth/stac-browser@{VERSION}"
_ARCHIVE_SHA512 = "Nu3pZzkJXfaS8JpsY1SjABMgr8W9swNmVa8RJoRetuDeMQ1+YibBRluC7G9ugzE/QECHD/9n3/8W/Ksz+UAC7w=="
_OL_STAC = "1.1.0"
"""Exact: from 1.2.0 on, ol-stac wants an OpenLayers that this STAC Browser does not have."""

_OURS = Path(__file__).parent / "source"
_OUR_FILES = ("config.js", "basemaps.config.js", "package-lock.json")
_FIRST_SCRIPT = '<script defer="defer"'
_ADDED = '<link rel="icon" href="data:,"><script src="config.js"></script>'
_DRAFT = "draft-"


def find_build(cache: Path) -> Path | None:
    """Return the folder of the finished build, None when there is none of this version.

    Args:
        cache: The user's cache folder of this project.
    """
    folder = _builds(cache) / build_digest()
    return folder if (folder / "index.html").is_file() else None


def build_digest() -> str:
    """Identify what a build is made from: version, digest of its sources, and our own files."""
    digest = hashlib.sha256(f"{_PACKAGE} {_ARCHIVE_SHA512} {_OL_STAC} {_ADDED}".encode())
    for name in _OUR_FILES:
        digest.update((_OURS / name).read_bytes())
    return f"{VERSION}-{digest.hexdigest()[:12]}"


def build_browser(
    cache: Path, node: Node, *, environ: Mapping[str, str], tell: Callable[[str], None]
) -> Path:
    """Return the folder of the build, making it first when there is none.

    Only one of several processes builds; the others wait for it. A failed build leaves its log and nothing
    else.

    Args:
        cache: The user's cache folder of this project.
        node: What to build with.
        environ: Environment; npm gets no more of it than it needs.
        tell: Told each step in one line.

    Raises:
        ConfigError: npm fails (no registry, no disk); the message names the log.
        DataError: the sources are not the pinned ones.
    """
    builds = _builds(cache)
    with _only_builder(builds, tell):
        done = find_build(cache)
        if done is not None:
            return done
        log = builds / f"{build_digest()}.log"
        log.write_text("")
        for stale in builds.glob(f"{_DRAFT}*"):
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=builds) as name:
            made = _build(Path(name), node, log=log, environ=environ, tell=tell)
            made.rename(builds / build_digest())
    return builds / build_digest()


def _builds(cache: Path) -> Path:
    return cache / "stac-browser"


@contextmanager
def _only_builder(builds: Path, tell: Callable[[str], None]) -> Iterator[None]:
    try:
        builds.mkdir(parents=True, exist_ok=True)
        lock = (builds / "lock").open("w")
    except OSError as exc:
        raise translate_os_error(exc, str(builds)) from exc
    with lock:
        _take(lock, tell)
        yield


def _take(lock: IO[str], tell: Callable[[str], None]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        tell("another process is building STAC Browser: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _build(
    draft: Path, node: Node, *, log: Path, environ: Mapping[str, str], tell: Callable[[str], None]
) -> Path:
    """Fetch, install and build in a draft folder; return the folder of finished pages in it."""

    def npm(*words: str, folder: Path) -> None:
        run_logged([node.npm, *words], folder=folder, log=log, environ=environ)

    tell(f"STAC Browser {VERSION}: fetching its sources (1 of 3)")
    npm("pack", _PACKAGE, folder=draft)
    package = _unpack(draft)
    tell("STAC Browser: installing about 1,100 npm packages, two minutes or so (2 of 3)")
    # Foreign packages need not run scripts of theirs to be installed, and so may not.
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=package)
    tell("STAC Browser: building, a minute or so (3 of 3)")
    tool = package / "node_modules" / "@vue" / "cli-service" / "bin" / "vue-cli-service.js"
    run_logged([node.node, str(tool), "build", "--noSourceMaps"], folder=package, log=log, environ=environ)
    _load_settings_first(package / "dist" / "index.html")
    return package / "dist"


def _unpack(draft: Path) -> Path:
    """Check and unpack the sources, and lay our files over them."""
    archive = next(draft.glob("*.tgz"), None)
    if archive is None:
        raise ConfigError(f"npm pack left no archive of {_PACKAGE}: try 'npm pack {_PACKAGE}' by hand")
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != _ARCHIVE_SHA512:
        raise DataError(
            f"the archive of {_PACKAGE} has SHA-512 {found[:16]}…, expected {_ARCHIVE_SHA512[:16]}…: the "
            "registry gave other sources than those this project was tested with"
        )
    with tarfile.open(archive) as opened:
        opened.extractall(draft, filter="data")
    package = draft / "package"
    manifest = json.loads((package / "package.json").read_text(encoding="utf-8"))
    manifest["dependencies"]["ol-stac"] = _OL_STAC
    (package / "package.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    for name in _OUR_FILES:
        shutil.copyfile(_OURS / name, package / name)
    return package


def _load_settings_first(page: Path) -> None:
    """Make the page read ``config.js``, which the published template leaves out, and ask for no icon."""
    text = page.read_text(encoding="utf-8")
    if _FIRST_SCRIPT not in text:
        raise DataError(
            f"{page.name} of the build has no script to load settings before: not built as expected"
        )
    page.write_text(text.replace(_FIRST_SCRIPT, _ADDED + _FIRST_SCRIPT, 1), encoding="utf-8")
