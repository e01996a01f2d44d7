"""Hold what is known of sensors beside what items say: band names, number formats, quality bands.

Items come first; these facts fill what they leave out. Names of one band are synonyms: a request for any of
them finds the asset that carries any other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BandProfile:
    """Hold the facts of one band of a product."""

    names: tuple[str, ...]
    """Every name in use: asset keys, band names, common names."""
    dtype: str | None = None
    nodata: float | str | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    common_name: str | None = None
    center_wavelength_um: float | None = None
    gsd_m: float | None = None
    quality: bool = False
    reflectance: bool = False
    """True where the Sentinel-2 baseline 04.00 offset applies."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Hold the facts of one product."""

    title: str
    license: str | None
    bands: tuple[BandProfile, ...]
    quality_band: str | None = None
    """A name of the band that cloud masks read."""
    mask_rule: str | None = None
    """Key of ``catalog.sources.masks.RULES``."""

    def find(self, name: str) -> BandProfile | None:
        """Find the band that goes by a name, exactly first, then in any case."""
        for wanted, fold in ((name, str), (name.lower(), str.lower)):
            for band in self.bands:
                if wanted in map(fold, band.names):
                    return band
        return None


def _msi(names: str, wavelength_um: float, gsd_m: float, common_name: str | None = None) -> BandProfile:
    return BandProfile(
        names=tuple(names.split()),
        dtype="uint16",
        nodata=0.0,
        scale=1e-4,
        unit="1",
        common_name=common_name,
        center_wavelength_um=wavelength_um,
        gsd_m=gsd_m,
        reflectance=True,
    )


_MSI_BANDS = (
    _msi("B01 coastal", 0.443, 60.0, "coastal"),
    _msi("B02 blue", 0.490, 10.0, "blue"),
    _msi("B03 green", 0.560, 10.0, "green"),
    _msi("B04 red", 0.665, 10.0, "red"),
    _msi("B05 rededge1 rededge071", 0.704, 20.0, "rededge071"),
    _msi("B06 rededge2 rededge075", 0.740, 20.0, "rededge075"),
    _msi("B07 rededge3 rededge078", 0.783, 20.0, "rededge078"),
    _msi("B08 nir", 0.842, 10.0, "nir"),
    _msi("B8A nir08", 0.865, 20.0, "nir08"),
    _msi("B09 nir09", 0.945, 60.0, "nir09"),
    _msi("B11 swir16", 1.610, 20.0, "swir16"),
    _msi("B12 swir22", 2.190, 20.0, "swir22"),
)
_SCL = BandProfile(names=("SCL", "scl", "scl_20m"), dtype="uint8", nodata=0.0, gsd_m=20.0, quality=True)

SENTINEL_2_L2A = Profile(
    title="Sentinel-2 L2A",
    license="Copernicus Sentinel data terms (free, full and open)",
    bands=(
        *_MSI_BANDS,
        _SCL,
        BandProfile(names=("AOT", "aot"), dtype="uint16", nodata=0.0, scale=1e-3, unit="1", gsd_m=20.0),
        BandProfile(names=("WVP", "wvp"), dtype="uint16", nodata=0.0, scale=1e-3, unit="cm", gsd_m=20.0),
    ),
    quality_band="scl",
    mask_rule="sentinel-2-scl",
)

SENTINEL_2_L1C = Profile(
    title="Sentinel-2 L1C",
    license="Copernicus Sentinel data terms (free, full and open)",
    bands=(*_MSI_BANDS, _msi("B10 cirrus", 1.375, 60.0, "cirrus")),
)


def _polarisations(dtype: str | None, nodata: float | None, unit: str | None) -> tuple[BandProfile, ...]:
    return tuple(
        BandProfile(names=(pol, pol.upper(), f"gamma0_{pol}"), dtype=dtype, nodata=nodata, unit=unit)
        for pol in ("vv", "vh", "hh", "hv")
    )


SENTINEL_1 = Profile(
    title="Sentinel-1",
    license="Copernicus Sentinel data terms (free, full and open)",
    bands=_polarisations(None, None, None),  # amplitude, power or dB: only the item or the file can say
)

SENTINEL_1_GRD = Profile(
    title="Sentinel-1 GRD",
    license="Copernicus Sentinel data terms (free, full and open)",
    bands=_polarisations("uint16", 0.0, None),  # uncalibrated amplitude has no unit
)

SENTINEL_1_RTC = Profile(
    title="Sentinel-1 RTC (gamma nought)",
    license="CC-BY-4.0",
    bands=_polarisations("float32", -32768.0, "1"),
)


def _reflectance(names: str, wavelength_um: float, common_name: str) -> BandProfile:
    # USGS LSDS-1619 (Landsat 8-9 Collection 2 Level 2 Science Product Guide), table 6-1.
    return BandProfile(
        names=tuple(names.split()),
        dtype="uint16",
        nodata=0.0,
        scale=2.75e-5,
        offset=-0.2,
        unit="1",
        common_name=common_name,
        center_wavelength_um=wavelength_um,
        gsd_m=30.0,
    )


def _bits(*names: str, dtype: str = "uint16", nodata: float | None = 1.0) -> BandProfile:
    return BandProfile(names=names, dtype=dtype, nodata=nodata, gsd_m=30.0, quality=True)


LANDSAT_C2_L2 = Profile(
    title="Landsat Collection 2 Level-2",
    license="USGS public domain",
    # Band numbers differ between sensors (SR_B4 is red on Landsat 8, near infrared on Landsat 7), so they are
    # no synonyms here; items and file names say which is which.
    bands=(
        _reflectance("coastal", 0.44, "coastal"),
        _reflectance("blue", 0.48, "blue"),
        _reflectance("green", 0.56, "green"),
        _reflectance("red", 0.65, "red"),
        _reflectance("nir08 nir", 0.86, "nir08"),
        _reflectance("swir16", 1.6, "swir16"),
        _reflectance("swir22", 2.2, "swir22"),
        BandProfile(
            names=("lwir11", "lwir", "ST_B10", "ST_B6"),
            dtype="uint16",
            nodata=0.0,
            scale=0.00341802,
            offset=149.0,
            unit="K",
            common_name="lwir11",
            center_wavelength_um=10.9,
            gsd_m=100.0,
        ),
        BandProfile(
            names=("atmos_opacity", "SR_ATMOS_OPACITY"), dtype="int16", nodata=-9999.0, scale=1e-3, gsd_m=30.0
        ),
        _bits("cloud_qa", "SR_CLOUD_QA", dtype="uint8", nodata=None),
        _bits("qa_pixel", "QA_PIXEL", "QA_PIXEL.TIF"),
        _bits("qa_radsat", "QA_RADSAT", "QA_RADSAT.TIF", nodata=None),
        _bits("qa_aerosol", "SR_QA_AEROSOL", "SR_QA_AEROSOL.TIF", dtype="uint8"),
    ),
    quality_band="qa_pixel",
    mask_rule="landsat-c2-qa-pixel",
)

OLI_REFLECTANCE = {
    f"SR_B{number}": name
    for number, name in enumerate(("coastal", "blue", "green", "red", "nir08", "swir16", "swir22"), start=1)
}
"""Level-2 reflectance bands of Landsat 8 and 9 by file name suffix."""
TM_REFLECTANCE = {
    f"SR_B{number}": name
    for number, name in ((1, "blue"), (2, "green"), (3, "red"), (4, "nir08"), (5, "swir16"), (7, "swir22"))
}
"""The same of Landsat 4, 5 and 7."""

NAIP = Profile(
    title="NAIP aerial imagery",
    license="Public domain (USDA)",
    bands=tuple(
        BandProfile(names=(name,), dtype="uint8", common_name=name)
        for name in ("red", "green", "blue", "nir")
    ),
)


def guess_profile(collection: str, constellation: str | None) -> Profile | None:
    """Recognise a product by its collection id, as catalogues other than the presets spell it.

    Args:
        collection: e.g. ``sentinel-s2-l2a-cogs``, ``landsat-c2l2-sr``, ``sentinel1-grd``.
        constellation: The item's own property, which confirms an id that names only the level.
    """
    plain = f"{constellation or ''} {collection}".lower().replace("_", "-")
    for marks, profile in _MARKS:
        if all(any(word in plain for word in words) for words in marks):
            return profile
    return None


_S2 = ("sentinel-2", "sentinel2", "sentinel-s2")
_MARKS: tuple[tuple[tuple[tuple[str, ...], ...], Profile], ...] = (
    ((_S2, ("l2a",)), SENTINEL_2_L2A),
    ((_S2, ("l1c",)), SENTINEL_2_L1C),
    ((("landsat",), ("c2l2", "c2-l2")), LANDSAT_C2_L2),
    ((("naip",),), NAIP),
    ((("sentinel-1", "sentinel1"),), SENTINEL_1),
)
