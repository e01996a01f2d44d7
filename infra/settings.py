"""Read where things are, once at the edge: environment over TOML over defaults, typos refused.

These are process settings. What a run does is in ``flows.params``; how an algorithm works stands beside it.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from infra.errors import ConfigError

PREFIX = "TERRALOOM_"
_NOT_SETTINGS = frozenset(
    {"TERRALOOM_CONFIG", "TERRALOOM_REAL_DATA", "TERRALOOM_ARTEFACTS", "TERRALOOM_CHIPS", "TERRALOOM_START"}
)
_DEFAULT_FILE = "terraloom.toml"
_LISTS = frozenset({"allowed_origins", "extra_roots", "extra_hosts", "overpass_urls"})
CATALOGUE_NAME = "catalogue.sqlite"


class _Frozen(BaseModel):
    # Tokens are settings too: a value must not come out with the traceback of a complaint about it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DaskSettings(_Frozen):
    """Say where pixels are computed."""

    address: str | None = None
    """Running scheduler, e.g. ``tls://host:8786``; None starts a LocalCluster for the run."""
    workers: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1)
    """Worker processes of the LocalCluster."""
    threads_per_worker: int = Field(default=1, ge=1)
    memory_limit: str = "auto"
    """Per worker, as Dask spells it: ``auto``, ``4GiB``."""
    dashboard_port: int = Field(default=8787, ge=0, le=65535)
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None


class ServeSettings(_Frozen):
    """Say where the catalogue is served and who may write to it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65535)
    token: SecretStr | None = None
    """Bearer token for writes; None refuses every write over HTTP."""
    database: SecretStr | None = None
    """``postgresql://user:password@host/name`` of a pgSTAC database; None serves the store's catalogue."""
    allowed_origins: tuple[str, ...] = ()
    """Browser origins that may read across sites (CORS)."""
    writes_per_minute: int = Field(default=600, ge=0)
    """Requests that may write, for each token; 0 lifts the limit."""
    reads_per_minute: int = Field(default=0, ge=0)
    """Requests that only read, for each address; 0 lifts the limit."""


class CatalogueSettings(_Frozen):
    """Say which catalogue a run publishes into."""

    uri: str | None = None
    """STAC API URL or SQLite path; None keeps the catalogue beside the store."""
    token: SecretStr | None = None


class OsmSettings(_Frozen):
    """Say which Overpass servers are asked for map data, and how politely."""

    overpass_urls: tuple[str, ...] = Field(
        default=(
            "https://overpass-api.de/api",
            "https://overpass.private.coffee/api",
            "https://maps.mail.ru/osm/tools/overpass/api",
        ),
        min_length=1,
    )
    """In order of preference; the next one is asked when one keeps failing."""
    overpass_timeout_s: int = Field(default=180, gt=0)
    """For one query, at the server and of the connection."""
    overpass_pause_s: float = Field(default=5.0, gt=0)
    """Before a server that failed is asked again; doubles with each further failure, ± half by chance."""
    overpass_max_area_km2: float = Field(default=400.0, gt=0)
    """Larger areas are asked for in parts."""
    overpass_cache_days: float = Field(default=7.0, ge=0)
    """How long an answer stands for the newest state; requests for a past state never age."""


class SourcesSettings(_Frozen):
    """Say what catalogues may make us read beyond their own place (``infra.urls``)."""

    extra_roots: tuple[str, ...] = ()
    """Folders that local catalogues may name files below."""
    extra_hosts: tuple[str, ...] = ()
    """Hosts, e.g. ``tiles.example.org``, trusted whatever address they resolve to."""


class Settings(_Frozen):
    """Hold every process setting."""

    store: str = "var/store"
    """Where products go: a path or ``s3://bucket/prefix``."""
    log_level: str = "INFO"
    prefect_api_url: str | None = None
    """Running Prefect API; None starts a loopback server for the run."""
    dask: DaskSettings = DaskSettings()
    serve: ServeSettings = ServeSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    osm: OsmSettings = OsmSettings()
    sources: SourcesSettings = SourcesSettings()


def catalogue_uri(settings: Settings, store_uri: str, *, data_home: Path) -> str:
    """Return the catalogue that belongs to a store: the one settings name, else an embedded one.

    Args:
        settings: Process settings.
        store_uri: Root of the store, as ``Storage.uri`` spells it.
        data_home: The user's data folder; SQLite cannot live in S3, so an S3 store's catalogue is kept there.
    """
    if settings.catalogue.uri is not None:
        return spell_local_path(settings.catalogue.uri)
    if store_uri.startswith("s3://"):
        name = hashlib.sha256(store_uri.encode()).hexdigest()[:16]
        return str(data_home / "catalogues" / f"{name}.sqlite")
    return str(Path(store_uri) / CATALOGUE_NAME)


def spell_local_path(uri: str) -> str:
    """Spell ``file:///path`` and ``~/path`` as a plain path; leave the rest as it is.

    Raises:
        ConfigError: a file address of another machine, or with a query.
    """
    if uri.startswith("file://"):
        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise ConfigError(f"catalogue address {uri} is not a file of this machine: spell it file:///path")
        return unquote(parts.path)
    return str(Path(uri).expanduser()) if uri.startswith("~") else uri


def data_home(environ: Mapping[str, str]) -> Path:
    """Return the folder for this user's own state (XDG)."""
    base = environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "terraloom"


def cache_home(environ: Mapping[str, str]) -> Path:
    """Return the folder for what can be made again (XDG)."""
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "terraloom"


def load_settings(environ: Mapping[str, str], *, folder: Path | None = None) -> Settings:
    """Merge defaults, the TOML file and ``TERRALOOM_*`` variables (nested by ``__``).

    Args:
        environ: Environment; ``TERRALOOM_CONFIG`` names the TOML file.
        folder: Where ``terraloom.toml`` is looked for otherwise; the working folder when None.

    Raises:
        ConfigError: a name nobody reads (the nearest valid one is named), a wrong value, a broken file.
    """
    merged = _read_toml(environ, folder or Path.cwd())
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            path = name.removeprefix(PREFIX).lower().split("__")
            _check_names(_nest(path, value), Settings, f"environment variable {name}")
            _set_nested(merged, path, value)
    try:
        return Settings.model_validate(merged)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        shown = "(hidden)" if place.endswith(("token", "database")) else repr(first.get("input"))
        raise ConfigError(f"setting {place} = {shown}: {first['msg'].lower()}") from exc


def _read_toml(environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    named = environ.get("TERRALOOM_CONFIG")
    file = Path(named) if named else folder / _DEFAULT_FILE
    if not file.is_file():
        if named:
            raise ConfigError(f"TERRALOOM_CONFIG names {named}, which does not exist; correct or unset it")
        return {}
    try:
        content = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{file} is not valid TOML: {exc}") from exc
    _check_names(content, Settings, str(file))
    return content


def _check_names(content: Mapping[str, Any], model: type[BaseModel], place: str, above: str = "") -> None:
    for name, value in content.items():
        field = model.model_fields.get(name)
        if field is None:
            near = difflib.get_close_matches(name, model.model_fields, n=1)
            hint = f"did you mean {above}{near[0]!s}?" if near else f"valid: {', '.join(model.model_fields)}"
            raise ConfigError(f"{place}: unknown setting {above}{name}; {hint}")
        inner = _inner_model(field)
        if inner is not None and isinstance(value, Mapping):
            _check_names(value, inner, place, f"{above}{name}.")


def _inner_model(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _nest(path: list[str], value: str) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if len(path) > 1 else value}


def _set_nested(target: dict[str, Any], path: list[str], value: str) -> None:
    for name in path[:-1]:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{PREFIX}{'__'.join(path).upper()}: {name} is a single value, not a section")
        target = inner
    # Lists are comma-separated in the environment.
    target[path[-1]] = value.split(",") if path[-1] in _LISTS else value
