"""The flights that the demo replays are real and fit for a request."""

from __future__ import annotations

import numpy as np
import pytest

from demo.flights import FEATURES, Flights, data_folder, read_flights


@pytest.fixture(scope="module")
def flights() -> Flights:
    return read_flights(data_folder())


def test_every_flight_of_the_year_is_there_in_order_of_departure(flights: Flights) -> None:
    """336 776 flights, no duplicates from the weather join."""
    assert len(flights.customer) == len(flights.late) == len(flights.date) == 336_776
    assert flights.features.shape == (336_776, len(FEATURES))
    assert (np.diff(flights.date) >= np.timedelta64(0, "D")).all()


def test_every_feature_is_finite(flights: Flights) -> None:
    """JSON has no NaN, and a gap in the weather is filled by the observation before."""
    assert np.isfinite(flights.features).all()


def test_months_include_both_ends(flights: Flights) -> None:
    """January and February, nothing of March."""
    months = np.unique(flights.months(1, 2).date.astype("datetime64[M]")).astype(str)

    assert list(months) == ["2013-01", "2013-02"]


def test_cancelled_flights_have_no_label(flights: Flights) -> None:
    """9 430 flights never arrived as scheduled: they are replayed, not trained on."""
    assert (flights.late == -1).sum() == 9_430
    assert set(np.unique(flights.labelled().late)) == {0, 1}


def test_a_customer_flies_more_than_once(flights: Flights) -> None:
    """Stickiness needs keys that come again."""
    _, times = np.unique(flights.customer, return_counts=True)

    assert np.median(times) > 1
