"""Hold the command that checks a machine and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import typer

from infra.errors import AppError
from infra.provenance import assert_single_checkout
from infra.settings import load_settings
from infra.storage import open_storage

State = Literal["ok", "note", "fail"]
_PINNED = (("fastapi", "0.149"), ("sqlalchemy", "2.0"), ("prefect", "3."), ("zarr", "3."))
"""Pairs that are known to break when another series is installed (docs/adr/0002)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Tell one thing about this machine, and what to do about it."""

    check: str
    state: State
    message: str


def doctor(
    store: Annotated[str | None, typer.Option(help="Store to try  [default: setting store]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line")] = False,
) -> int:
    """Check Python, GDAL, storage, server, GPU and pins, and say what to do.

    Example: terraloom doctor --store ./store
    """
    checks: tuple[Callable[[], Finding], ...] = (
        _check_python,
        _check_checkout,
        _check_gdal,
        _check_pins,
        lambda: _check_store(store),
        _check_server,
        _check_gpu,
        _check_node,
    )
    findings = [check() for check in checks]
    for finding in findings:
        line = json.dumps(asdict(finding)) if as_json else _line(finding)
        sys.stdout.write(line + "\n")
    return 1 if any(finding.state == "fail" for finding in findings) else 0


def _line(finding: Finding) -> str:
    return f"{finding.state:<5} {finding.check:<8} {finding.message}"


def _check_python() -> Finding:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    # An older Python does not get as far as this line: the package refuses to install there.
    return Finding(check="python", state="ok", message=found)


def _check_checkout() -> Finding:
    try:
        return Finding(check="code", state="ok", message=f"imported from {assert_single_checkout()}")
    except AppError as exc:
        return Finding(check="code", state="fail", message=exc.message)


def _check_gdal() -> Finding:
    import rasterio
    from rasterio.drivers import raster_driver_extensions

    sharded = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2]) >= (3, 13)
    zarr = (
        "reads our Zarr cubes"
        if sharded
        else "does not read sharded Zarr: use previews or 'terraloom export'"
    )
    drivers = set(raster_driver_extensions().values())
    if not {"COG", "GTiff"} & drivers:
        return Finding(check="gdal", state="fail", message="no GeoTIFF driver; reinstall rasterio")
    return Finding(check="gdal", state="ok", message=f"{rasterio.__gdal_version__}, {zarr}")


def _check_pins() -> Finding:
    wrong = []
    for name, series in _PINNED:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "absent"
        if not found.startswith(series):
            wrong.append(f"{name} {found} (want {series}*)")
    if wrong:
        return Finding(check="pins", state="fail", message=f"{', '.join(wrong)}; run 'make install'")
    return Finding(check="pins", state="ok", message="the versions that must match do")


def _check_store(store: str | None) -> Finding:
    try:
        storage = open_storage(store or load_settings(os.environ).store)
        probe = f"runs/.doctor-{os.getpid()}"
        storage.write(probe, b"probe")
        storage.delete(probe)
    except AppError as exc:
        return Finding(check="store", state="fail", message=exc.message)
    free = storage.free_bytes()
    room = "" if free is None else f", {free / 1e9:.0f} GB free"
    return Finding(check="store", state="ok", message=f"{storage.uri} can be written{room}")


def _check_server() -> Finding:
    try:
        settings = load_settings(os.environ)
    except AppError as exc:
        return Finding(check="server", state="fail", message=exc.message)
    url = settings.prefect_api_url or os.environ.get("PREFECT_API_URL")
    if url is None:
        return Finding(check="server", state="ok", message="no Prefect API named; each run starts its own")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=5):  # noqa: S310 - the user's own URL
            return Finding(check="server", state="ok", message=f"Prefect answers at {url}")
    except (urllib.error.URLError, OSError, ValueError) as exc:
        return Finding(check="server", state="fail", message=f"Prefect at {url} does not answer: {exc}")


def _check_gpu() -> Finding:
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return Finding(check="gpu", state="note", message="none; models will run on the CPU")
    return Finding(check="gpu", state="ok", message=shutil.which("nvidia-smi") or "NVIDIA device present")


def _check_node() -> Finding:
    node = shutil.which("node")
    if node is None:
        return Finding(check="node", state="note", message="none; only STAC Browser will need it")
    return Finding(check="node", state="ok", message=node)
