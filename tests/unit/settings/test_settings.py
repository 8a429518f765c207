"""Settings come from four sources in one order, are checked once, and say where they came from."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.settings import Settings, SettingsError
from router.settings_fields import KEYS, PATH_KEYS
from router.settings_sources import effective, parse_file, resolve

HOME = {"HOME": "/home/ada"}


def settle(
    flags: dict[str, Any] | None = None, variables: dict[str, str] | None = None, file: dict[str, Any] | None = None
) -> Settings:
    """Resolve with a home and a working directory."""
    return resolve(flags or {}, HOME | (variables or {}), file or {}, cwd=Path("/srv")).settings


def test_without_any_source_the_defaults_hold() -> None:
    """Nothing need be set: ports of the design, loopback, state under home."""
    settings = settle()
    assert (settings.http_port, settings.grpc_port, settings.metrics_port, settings.admin_port) == (
        8000,
        8001,
        8002,
        8080,
    )
    assert (settings.host, settings.admin_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.state_dir == Path("/home/ada/.shepherd")


@given(st.sets(st.sampled_from(["flag", "variable", "file"])))
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(sources: set[str]) -> None:
    """The strongest source given decides, and is named as the origin."""
    resolved = resolve(
        {"routers": 2} if "flag" in sources else {},
        HOME | ({"SHEPHERD_ROUTERS": "3"} if "variable" in sources else {}),
        {"routers": 4} if "file" in sources else {},
        cwd=Path("/srv"),
        file_name="shepherd.yaml",
    )
    order = [("flag", 2, "--routers"), ("variable", 3, "SHEPHERD_ROUTERS"), ("file", 4, "shepherd.yaml")]
    value, origin = next(((v, o) for name, v, o in order if name in sources), (1, "default"))
    assert (resolved.settings.routers, resolved.origins["routers"]) == (value, origin)


@pytest.mark.parametrize(
    ("flags", "variables", "file", "named"),
    [
        ({}, {"SHEPHERD_HTP_PORT": "1"}, {}, ["SHEPHERD_HTP_PORT", "SHEPHERD_HTTP_PORT"]),
        ({}, {}, {"http_prot": 1}, ["http_prot", "http_port"]),
        ({"router": 1}, {}, {}, ["router", "routers"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_valid_one(
    flags: dict[str, Any], variables: dict[str, str], file: dict[str, Any], named: list[str]
) -> None:
    """A typo never passes for a default."""
    with pytest.raises(SettingsError) as caught:
        settle(flags, variables, file)
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ({"http_port": 70_000}, "http_port"),
        ({"http_port": True}, "http_port"),
        ({"http_port": "eighty"}, "http_port"),
        ({"routers": 0}, "routers"),
        ({"keep_alive_s": 0}, "keep_alive_s"),
        ({"log_level": "loud"}, "log_level"),
        ({"log_sample_bp": 10_001}, "log_sample_bp"),
        ({"max_body_bytes": "64 parsec"}, "max_body_bytes"),
        ({"redis_url": "http://redis"}, "redis_url"),
        ({"registry_uri": "ftp://registry"}, "registry_uri"),
        ({"http_port": 9000, "grpc_port": 9000}, "grpc_port"),
        ({"spool_segment_bytes": "2GiB"}, "spool_segment_bytes"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(file: dict[str, Any], key: str) -> None:
    """The message begins with the key at fault."""
    with pytest.raises(SettingsError, match=f"^{key}: "):
        settle(file=file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.example"])
def test_the_admin_api_stays_on_loopback_unless_told_otherwise(host: str) -> None:
    """An unencrypted control plane is never exposed by accident."""
    with pytest.raises(SettingsError, match="allow_remote_admin"):
        settle({"admin_host": host})
    assert settle({"admin_host": host, "allow_remote_admin": True}).admin_host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_every_name_of_loopback_is_loopback(host: str) -> None:
    """No flag is needed where nobody else can reach."""
    assert settle({"admin_host": host}).admin_host == host


def test_sizes_may_carry_a_unit() -> None:
    """Powers of 1024, in variables and in the file alike."""
    settings = settle(variables={"SHEPHERD_MAX_BODY_BYTES": "8 MiB"}, file={"spool_max_bytes": "2GiB"})
    assert (settings.max_body_bytes, settings.spool_max_bytes) == (8 << 20, 2 << 30)


def test_an_empty_variable_counts_as_not_given() -> None:
    """`SHEPHERD_REDIS_URL= shepherd up` clears it, as shells have no other way."""
    assert settle(variables={"SHEPHERD_REDIS_URL": ""}).redis_url is None


@pytest.mark.parametrize("variable", ["SHEPHERD_STATE", "SHEPHERD_STATE_DIR"])
def test_the_state_directory_is_made_absolute(variable: str) -> None:
    """Processes that start elsewhere must mean the same directory."""
    assert settle(variables={variable: "state"}).state_dir == Path("/srv/state")
    assert settle(variables={variable: "/var/shepherd"}).state_dir == Path("/var/shepherd")
    with pytest.raises(SettingsError, match="state_dir"):
        Settings(state_dir=Path("state"))


def test_the_home_of_the_default_must_be_known() -> None:
    """Without HOME the message says how to go on."""
    with pytest.raises(SettingsError, match="--state"):
        resolve({}, {}, {}, cwd=Path("/srv"))


@pytest.mark.parametrize("text", ["- a\n- b", "5: x", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused_by_name(text: str) -> None:
    """The file's name leads the message, and YAML's own complaint fits on one line."""
    with pytest.raises(SettingsError, match=r"^shepherd\.yaml: .*$"):
        parse_file(text, "shepherd.yaml")


def test_an_empty_file_sets_nothing() -> None:
    """A file of comments is valid."""
    assert parse_file("# nothing yet\n", "shepherd.yaml") == {}


def test_passwords_in_urls_are_masked_where_settings_are_shown() -> None:
    """`shepherd config` may be pasted into a ticket."""
    resolved = resolve({"redis_url": "redis://ada:secret@db:6379/0"}, HOME, {}, cwd=Path("/srv"))
    shown = {line.key: line.value for line in effective(resolved)}
    assert shown["redis_url"] == "redis://ada:***@db:6379/0"
    assert "secret" not in str(shown)
    assert "secret" not in repr(resolved)
    assert resolved.settings.redis_url == "redis://ada:secret@db:6379/0"


@pytest.mark.parametrize("key", ["incident_webhooks", "alert_webhooks", "alertmanager_webhooks"])
@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("https://ada:s3cret@hooks.example/a?b", "https://ada:***@hooks.example/a?b"),
        ("https://:s3cret@hooks.example", "https://:***@hooks.example"),
        ("https://s3cret@hooks.example", "https://***@hooks.example"),
        ("https://ada:s3:cr@s3cret@hooks.example/x@y", "https://ada:***@hooks.example/x@y"),
        ("https://hooks.example/team@here:1", "https://hooks.example/team@here:1"),
    ],
)
def test_passwords_are_masked_in_each_address_of_a_list(key: str, address: str, masked: str) -> None:
    """All that an operator may give several of; a token without a user is a password, too."""
    resolved = resolve({}, HOME, {key: ["https://plain.example/", address]}, cwd=Path("/srv"))
    shown = {line.key: line.value for line in effective(resolved)}
    assert shown[key] == ("https://plain.example/", masked)
    assert "s3cret" not in repr(resolved)


def test_a_password_is_masked_in_the_error_that_its_address_causes() -> None:
    """Whoever shows the message does not show the password."""
    with pytest.raises(SettingsError, match="redis_url") as raised:
        settle(file={"redis_url": ["redis://ada:s3cret@db"]})
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("key", sorted(PATH_KEYS))
def test_every_path_may_be_given_as_text_in_every_source(key: str) -> None:
    """Relative to where the command runs, and to the home where it begins with one."""
    together: dict[str, dict[str, str]] = {"tls_key": {"tls_certificate": "c"}, "tls_certificate": {"tls_key": "k"}}
    others = together.get(key, {"tls_certificate": "c", "tls_key": "k"} if key == "tls_client_ca" else {})
    for sources in (
        {"flags": {key: "a/b"}},
        {"variables": {f"SHEPHERD_{key.upper()}": "a/b"}},
        {"file": {key: "a/b", **others}},
    ):
        settings = settle(**{"file": others, **sources})
        assert getattr(settings, key) == Path("/srv/a/b")
    assert getattr(settle({key: "~/b"}, file=others), key) == Path("/home/ada/b")


def test_the_paths_among_the_settings_are_known_by_their_type() -> None:
    """Nobody has to remember a list."""
    defaults = settle()
    assert {"state_dir", "triton_push_folder", "log_parquet_folder"} <= PATH_KEYS
    assert {key for key in KEYS if isinstance(getattr(defaults, key), Path)} <= PATH_KEYS


def test_every_setting_is_listed_with_a_description() -> None:
    """The annotation is the documentation; none is missing."""
    lines = effective(resolve({}, HOME, {}, cwd=Path("/srv")))
    assert [line.key for line in lines] == list(KEYS)
    assert all(line.description for line in lines)


def test_settings_travel_between_processes_unchanged() -> None:
    """Ray pickles them into every replica."""
    settings = settle({"http_port": 9000})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_a_secret_is_never_shown() -> None:
    """Neither by `shepherd config`, nor by an error, nor when settings are printed."""
    variables = {"SHEPHERD_RETRAIN_AUTHORIZATION": "Bearer s3cret"}
    resolved = resolve({}, HOME | variables, {}, cwd=Path("/srv"))
    shown = {line.key: line.value for line in effective(resolved)}

    assert resolved.settings.retrain_authorization == "Bearer s3cret"
    assert shown["retrain_authorization"] == "***"
    assert "s3cret" not in repr(resolved)
    with pytest.raises(SettingsError) as raised:
        settle(file={"retrain_authorization": ["s3cret"]})
    assert "s3cret" not in str(raised.value)


def test_a_secret_has_one_source() -> None:
    """With two of them nobody could tell which one is shown."""
    with pytest.raises(SettingsError, match="only one"):
        settle(file={"retrain_authorization": "a", "retrain_authorization_file": "b"})
