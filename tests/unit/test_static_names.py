"""What file names say, as tables of real ones."""

import datetime as dt

import pytest

from catalog.plain_files.names import (
    band_in_name,
    band_names_in_name,
    platform_in_name,
    split_band,
    time_in_name,
)


@pytest.mark.parametrize(
    ("stem", "scene", "band"),
    [
        (
            "LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4",
            "LC08_L2SP_008059_20191201_20200825_02_T1",
            "SR_B4",
        ),
        (
            "LC08_L2SP_008059_20191201_20200825_02_T1_QA_PIXEL",
            "LC08_L2SP_008059_20191201_20200825_02_T1",
            "QA_PIXEL",
        ),
        (
            "LC08_L2SP_008059_20191201_20200825_02_T1_ST_B10",
            "LC08_L2SP_008059_20191201_20200825_02_T1",
            "ST_B10",
        ),
        ("LC08_L1TP_013032_20180131_BQA", "LC08_L1TP_013032_20180131", "BQA"),
        ("LC08_L1TP_013032_20180131_B11", "LC08_L1TP_013032_20180131", "B11"),
        ("S2A_MSIL2A_20170613T101031_87_48_B8A", "S2A_MSIL2A_20170613T101031_87_48", "B8A"),
        ("T34SGA_20200318T091131_B02_10m", "T34SGA_20200318T091131", "B02"),
        (
            "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48_VV",
            "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
            "VV",
        ),
        ("TERRA_MODIS_012010_NDVI_2013-09-14", "TERRA_MODIS_012010_2013-09-14", "NDVI"),
        ("m_4709963_se_14_1_20090818", "m_4709963_se_14_1_20090818", None),
        ("B04", "", "B04"),
        ("scene.red", "scene", "red"),
        ("282D_485L_3_3", "282D_485L_3_3", None),
        ("blueberry_hill", "blueberry_hill", None),
        ("harbour_20200101", "harbour_20200101", None),
    ],
)
def test_scene_and_band(stem, scene, band):
    assert split_band(stem) == (scene, band)


NOON = "T12:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "instant"),
    [
        ("LC08_L2SP_008059_20191201_20200825_02_T1", "2019-12-01" + NOON),
        ("S2A_MSIL2A_20170613T101031_87_48", "2017-06-13T10:10:31+00:00"),
        ("S2B_MSIL2A_20180204T94161_57_38", "2018-02-04" + NOON),
        ("m_4709963_se_14_1_20090818", "2009-08-18" + NOON),
        ("TERRA_MODIS_012010_NDVI_2013-09-14", "2013-09-14" + NOON),
        ("scene_2020_08_31", "2020-08-31" + NOON),
        ("2018-07-16T06:06:23", "2018-07-16T06:06:23+00:00"),
        ("MOD13Q1.A2013257.h12v10", "2013-09-14" + NOON),
        ("MOD13Q1.A2020366.h12v10", "2020-12-31" + NOON),
        ("282D_485L_3_3", None),
        ("LC08_013032", None),
        ("id_120200831", None),
        ("scene_20201331", None),
        ("scene_20200231", None),
        ("m_4709963_se", None),
    ],
)
def test_times(name, instant):
    found = time_in_name(name)
    assert (found.instant.isoformat() if found else None) == instant
    assert found is None or found.whole_day == instant.endswith(NOON)


@pytest.mark.parametrize("longitude", [-179.9, -99.0, 0.0, 151.0, 179.9])
def test_a_date_stays_that_solar_date_anywhere(longitude):
    found = time_in_name("20200831")
    assert found is not None
    assert (found.instant + dt.timedelta(hours=longitude / 15)).date() == dt.date(2020, 8, 31)


@pytest.mark.parametrize(
    ("scene", "platform"),
    [
        ("LC09_L2SP_x", "landsat-9"),
        ("LE07_L1TP_x", "landsat-7"),
        ("S2B_MSIL2A_x", "sentinel-2b"),
        ("S1A_IW_GRDH_x", "sentinel-1a"),
        ("m_4709963_se_14_1_20090818", None),
    ],
)
def test_platforms(scene, platform):
    assert platform_in_name(scene).get("platform") == platform


def test_a_stated_baseline_is_carried():
    scene = "S2B_MSIL2A_20230601T103629_N0509_R008_T32UQD_20230601T140000"
    assert platform_in_name(scene)["s2:processing_baseline"] == "05.09"


OLD, NEW = time_in_name("20170613T101031"), time_in_name("20230613T101031")


@pytest.mark.parametrize(
    ("scene", "band", "time", "expected"),
    [
        ("LC08_L2SP_x", "SR_B4", OLD, ("red", 2.75e-5, -0.2, 0.0)),
        ("LC08_L2SP_x", "SR_B5", OLD, ("nir08", 2.75e-5, -0.2, 0.0)),
        ("LE07_L2SP_x", "SR_B4", OLD, ("nir08", 2.75e-5, -0.2, 0.0)),
        ("LC08_L2SP_x", "ST_B10", OLD, ("lwir11", 0.00341802, 149.0, 0.0)),
        ("LC08_L2SP_x", "QA_PIXEL", OLD, (None, 1.0, 0.0, 1.0)),
        ("LC08_L1TP_x", "B4", OLD, ("red", 1.0, 0.0, 0.0)),
        ("LE07_L1TP_x", "B4", OLD, (None, 1.0, 0.0, 0.0)),
        ("S2A_MSIL2A_x", "B04", OLD, ("red", 1e-4, 0.0, 0.0)),
        ("S2A_MSIL2A_x", "B04", NEW, None),  # the 04.00 offset may be in it or not
        ("S2A_MSIL2A_x_N0509_y", "B04", NEW, ("red", 1e-4, 0.0, 0.0)),
        ("harbour", "B04", OLD, None),
    ],
)
def test_numbers_of_bands(scene, band, time, expected):
    found = band_in_name(scene, band, time)
    assert (found and (found.common_name, found.scale, found.offset, found.nodata)) == expected


def test_fixed_band_orders():
    assert band_names_in_name("m_4709963_se_14_1_20090818", 4) == ("red", "green", "blue", "nir")
    assert band_names_in_name("m_4709963_se_14_1_20090818", 1) is None
    assert band_names_in_name("harbour", 4) is None
