from __future__ import annotations

import datetime
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from gradmap.envs.scenarios.build import build_scenarios
from gradmap.envs.scenarios.model import ScenarioConfig, ScenarioSet
from gradmap.envs.scenarios.series_csv import read_series
from gradmap.feeders.errors import GradmapError
from gradmap.feeders.model import Feeder

DATES = ("2016-03-26", "2016-03-28")
COLUMN = "temp_outdoor_degc"
Write = Callable[..., str]


def _rows(minutes: int, dates: tuple[str, ...] = DATES) -> list[tuple[str, str]]:
    rows = []
    for date in dates:
        start = datetime.datetime.fromisoformat(date)
        for i in range(1440 // minutes):
            time = start + datetime.timedelta(minutes=i * minutes)
            rows.append((time.isoformat(timespec="minutes"), f"{len(rows)}"))
    return rows


@pytest.fixture
def write(tmp_path: pathlib.Path) -> Write:
    def put(rows: list[tuple[str, str]], header: str = f"time,{COLUMN}", bom: str = "") -> str:
        path = tmp_path / "weather.csv"
        lines = "\n".join([header, *(",".join(row) for row in rows)])
        path.write_text(bom + lines + "\n", encoding="utf-8")
        return str(path)

    return put


def _read(path: str, limits: tuple[float, float] = (-60.0, 1e4)) -> np.ndarray:
    return read_series(path, COLUMN, DATES, 48, limits)


def test_finer_rows_are_averaged(write: Write) -> None:
    values = _read(write(_rows(10)))
    assert values.shape == (2, 48)
    np.testing.assert_allclose(values.ravel(), 1 + 3 * np.arange(96))


@pytest.mark.parametrize(("minutes", "times"), [(30, 1), (60, 2), (180, 6)])
def test_coarser_rows_are_repeated(write: Write, minutes: int, times: int) -> None:
    values = _read(write(_rows(minutes)))
    np.testing.assert_array_equal(values.ravel(), np.repeat(np.arange(96 // times), times))


def test_one_row_a_day(write: Write) -> None:
    values = _read(write([("2016-03-26", "1"), ("2016-03-27", "2"), ("2016-03-28", "3")]))
    np.testing.assert_array_equal(values, np.repeat([[1.0], [3.0]], 48, axis=1))


def test_order_other_days_and_columns_do_not_matter(write: Write) -> None:
    rows = [(t.replace("T", " "), v, "x") for t, v in _rows(30)][::-1]
    rows += [("2016-03-27 02:30", "bad", ""), ("2017-01-01 00:00", "", "")]
    path = write(rows, header=f"time,{COLUMN},note", bom="\ufeff")
    np.testing.assert_array_equal(_read(path).ravel(), np.arange(96))


def test_all_faults_are_named_at_once(write: Write) -> None:
    rows = _rows(30)
    rows[7] = (rows[7][0], "warm")
    rows[8] = (rows[8][0], "")
    rows[9] = (rows[9][0], "451")
    rows[11] = ("2016-03-26T05:40", "1")
    rows[12] = ("noon", "1")
    rows[13] = ("2016-03-26T06:30+01:00", "1")
    del rows[60:66]
    rows.append(rows[0])
    with pytest.raises(GradmapError) as caught:
        _read(write(rows), limits=(-60.0, 60.0))
    message = str(caught.value)
    for words in (
        "9 missing rows: 2016-03-26T05:30, 2016-03-26T06:00, 2016-03-26T06:30, ...",
        "1 repeated times: 2016-03-26T00:00",
        "1 times off the 30-minute grid: 2016-03-26T05:40",
        "2 temp_outdoor_degc not a number: 2016-03-26T03:30 ('warm'), 2016-03-26T04:00 (empty)",
        "outside -60 to 60: 2016-03-26T04:30 ('451')",
        "1 unreadable times: 'noon'",
        "1 times with an offset, where local ones are due: 2016-03-26T06:30+01:00",
        "give one row every 30 minutes of every day from 2016-03-26 to 2016-03-28",
    ):
        assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1,5", "0x10"])
def test_what_is_no_number(write: Write, text: str) -> None:
    rows = _rows(30)
    rows[3] = (rows[3][0], f'"{text}"')
    with pytest.raises(GradmapError, match="1 temp_outdoor_degc not a number: 2016-03-26T01:30"):
        _read(write(rows))


@pytest.mark.parametrize(
    ("minutes", "message"), [(45, "45 minutes between rows"), (20, "20 minutes"), (1440 * 2, "no")]
)
def test_resolution_that_does_not_fit(write: Write, minutes: int, message: str) -> None:
    rows = _rows(minutes) if minutes <= 1440 else []
    with pytest.raises(GradmapError, match=message + r".*multiple of the 30-minute step"):
        _read(write(rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read it as CSV"),
        ("time;temp_outdoor_degc\n", "no column time or temp_outdoor_degc; found time;temp"),
        ("time,temp\n2016-01-01,1\n", "no column temp_outdoor_degc; found time, temp"),
        ('time,temp_outdoor_degc\n"2016', "cannot read it as CSV"),
        (f"time,{COLUMN}\n", "no resolution"),
    ],
)
def test_files_that_are_no_series(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = tmp_path / "weather.csv"
    path.write_text(text)
    with pytest.raises(GradmapError, match=message):
        _read(str(path))
    with pytest.raises(GradmapError, match=r"cannot read it as CSV: .*No such file"):
        _read(str(tmp_path / "none.csv"))


def test_own_weather_and_tariff(
    write: Write, tmp_path: pathlib.Path, feeder: Feeder, scenarios: ScenarioSet
) -> None:
    rows = [(t, "12.5") for t, _ in _rows(60, scenarios.date)]
    weather = write(rows)
    tariff = tmp_path / "tariff.csv"
    lines = [f"{t},{0.1 + 0.01 * (i % 24):.2f}" for i, (t, _) in enumerate(rows)]
    tariff.write_text("\n".join(["time,tariff_usd_per_kwh", *lines]))
    config = ScenarioConfig(weather_csv=weather, tariff_csv=str(tariff))
    own = build_scenarios(feeder, config)
    assert (own.temp_outdoor_degc == 12.5).all()
    np.testing.assert_allclose(own.tariff_usd_per_kwh[100, ::2], 0.1 + 0.01 * np.arange(24))
    np.testing.assert_array_equal(own.base_p_kw, scenarios.base_p_kw)
    tariff.write_text("\n".join(["time,tariff_usd_per_kwh", *lines]).replace(",0.10", ",38"))
    with pytest.raises(GradmapError, match="364 tariff_usd_per_kwh outside -2 to 10"):
        build_scenarios(feeder, config)
