"""What a table says of labels, classes and times, before a profile is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from router.control.profiling import read_hours, read_labels
from serving.protocol.errors import ServingError


def test_labels_that_are_numbers_or_truths_stay_numbers() -> None:
    """Empty is unknown; nothing needs a list of classes."""
    labels, classes = read_labels(["1", "0", "true", "False", "", "2.5"], (), may_guess=False)

    assert labels[:4].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert np.isnan(labels[4])
    assert labels[5] == 2.5
    assert classes == ()


def test_names_take_their_places_in_the_list_of_classes() -> None:
    """In the order of the model's numbers, whatever it is."""
    labels, classes = read_labels(["dog", "cat", "", "dog"], ("dog", "cat"), may_guess=False)

    assert labels[[0, 1, 3]].tolist() == [0.0, 1.0, 0.0]
    assert classes == ("dog", "cat")


def test_names_without_a_list_are_in_alphabetical_order_where_the_model_answers_with_names() -> None:
    """Elsewhere nobody can know which number they have: refused."""
    labels, classes = read_labels(["dog", "cat"], (), may_guess=True)

    assert (labels.tolist(), classes) == ([1.0, 0.0], ("cat", "dog"))
    with pytest.raises(ServingError, match="names in the list of classes"):
        read_labels(["dog", "cat"], (), may_guess=False)


def test_a_name_that_is_no_class_is_refused_by_itself() -> None:
    """It names the label."""
    with pytest.raises(ServingError, match="'newt' is none of the classes"):
        read_labels(["dog", "newt"], ("dog", "cat"), may_guess=True)


def test_times_are_seconds_or_iso_8601_in_utc_unless_they_say_otherwise() -> None:
    """The hour of day, UTC."""
    assert read_hours(["3600", "2026-01-01T23:30", "2026-01-01T23:30+02:00", "1700000000.5"]).tolist() == [
        1,
        23,
        21,
        22,
    ]


@pytest.mark.parametrize("text", ["", "noon", "nan", "inf", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """By what it says."""
    with pytest.raises(ServingError, match="time"):
        read_hours([text])
