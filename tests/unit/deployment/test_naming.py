"""Names of applications and reasons of failures survive their way through Ray Serve."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.backends.triton_errors import EndpointLost
from serving.deployment.failures import LoadFailed, describe, is_delayed, is_final, load_failure, read_reason
from serving.deployment.spec import app_name, parse_app_name
from serving.protocol.errors import invalid

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,40}\Z")


@given(NAMES, st.integers(1, 2**31 - 1))
def test_an_applications_name_gives_back_model_and_version(model: str, version: int) -> None:
    """Names with dots and digits included."""
    assert parse_app_name(app_name(model, version)) == (model, version)


def test_other_applications_are_no_versions() -> None:
    """Gateway and control live beside the versions."""
    assert parse_app_name("gateway") is None
    assert parse_app_name("model.flights.0") is None


@given(st.text(max_size=200))
def test_a_reason_is_read_back_from_a_traceback_in_a_traceback(reason: str) -> None:
    """Ray Serve quotes the replica's traceback inside one of its own, with colours and source lines."""
    quoted = f"\x1b[36mray::init()\x1b[39m\n  raise LoadFailed(describe(error)) from error\n{LoadFailed.__name__}: "
    message = f"The deployment failed to start 1 times in a row. Error:\n{quoted}{LoadFailed(reason)}\n\nthe end"
    assert read_reason(message) == reason
    assert is_final(message)


def test_a_process_that_died_is_no_final_failure() -> None:
    """Memory may be free the next time."""
    message = "The deployment failed to start 1 times in a row. Error:\nActorDiedError()"
    assert "process died" in read_reason(message)
    assert not is_final(message)


def test_a_process_that_could_not_even_make_the_replica_says_why() -> None:
    """Ray calls the process dead for that, too."""
    message = (
        "ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, "
        "\x1b[36mray::ServeReplica:gateway:Router.__init__()\x1b[39m (pid=8608)\n"
        '  File "replica.py", line 3420, in __init__\n'
        "ImportError: cannot import name 'Router'\n"
    )
    assert read_reason(message) == "ImportError: cannot import name 'Router'"


def test_what_is_away_may_come_back_and_what_is_wrong_stays_wrong() -> None:
    """Attempts of the one go on, with pauses; the other is not tried again by itself."""
    for error, is_away in ((EndpointLost('Triton at "x" is gone'), True), (invalid("no such provider"), False)):
        failure = load_failure(error)
        message = f"Retrying. Error:\nserving.deployment.failures.{type(failure).__name__}: {failure}\n"
        assert read_reason(message) == str(error)
        assert (is_final(message), is_delayed(message)) == (not is_away, is_away)


def test_an_unknown_failure_is_its_last_line() -> None:
    """Something is better than nothing."""
    assert read_reason("Error:\n  File x\n\x1b[31mValueError: no such thing\x1b[0m\n") == "ValueError: no such thing"
    assert read_reason("") == "no reason was given"


def test_a_failure_of_ours_is_told_in_its_own_words_and_a_foreign_one_with_its_type() -> None:
    """One line in any case."""
    assert describe(invalid("backend 'x'\n is unknown")) == "backend 'x' is unknown"
    assert describe(KeyError("w")) == "KeyError: 'w'"
    assert describe(ValueError()) == "ValueError"
