"""From where a version's files may be fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.protocol.errors import ServingError
from serving.registry.source import SourcePolicy, without_credentials


@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts:/1/run/artifacts/model",
        "mlflow-artifacts://models.example:5000/1/run",
        "http://models.example:5000/artifacts",
        "s3://bucket/key",
        "gs://bucket/key",
        "wasbs://container@account.blob.core.windows.net/key",
    ],
)
def test_the_registry_itself_and_object_stores_are_acceptable(source: str) -> None:
    """The one was chosen by the operator, the others have credentials of their own."""
    SourcePolicy("http://models.example:5000").check(source)


@pytest.mark.parametrize(
    "source",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://models.example:5001/artifacts",
        "mlflow-artifacts://other.example/1",
        "ftp://models.example:5000/x",
        "sftp://host/x",
        "runs:/1/model",
        "models:/other/1",
        "dbfs:/x",
        "file:///etc",
        "/etc",
        "file://localhost/etc",
    ],
)
def test_other_hosts_other_schemes_and_other_folders_are_refused(source: str) -> None:
    """Else a version's source could reach any host of the network and any file of this one."""
    with pytest.raises(ServingError, match="refused"):
        SourcePolicy("http://models.example:5000").check(source)


def test_folders_below_an_allowed_one_are_acceptable_and_paths_out_of_it_are_not(tmp_path: Path) -> None:
    """Paths are resolved before they are compared."""
    policy = SourcePolicy("sqlite:///x", [tmp_path / "artifacts"])
    (tmp_path / "artifacts" / "1").mkdir(parents=True)
    (tmp_path / "artifacts" / "out").symlink_to("/etc")

    address = (tmp_path / "artifacts" / "1").as_uri()
    assert policy.check(address) == policy.check(str(tmp_path / "artifacts" / "1")) == address
    assert policy.check(f"file://{tmp_path}/artifacts/x/../1") == address
    for path in ("artifacts/../..", "artifacts/out", "artifacts-of-another", "artifacts/%2e%2e/%2e%2e"):
        with pytest.raises(ServingError, match="allowed folders"):
            policy.check(f"file://{tmp_path}/{path}")


@pytest.mark.parametrize("mark", ["?", "#", "%3F", ";"])
def test_a_mark_of_uris_in_a_path_does_not_hide_the_rest_of_it(tmp_path: Path, mark: str) -> None:
    """MLflow takes what has no scheme for a path as it stands: what is checked is what it reads."""
    policy = SourcePolicy("sqlite:///x", [tmp_path / "artifacts"])
    (tmp_path / "artifacts" / f"m{mark}").mkdir(parents=True)
    (tmp_path / "secret").mkdir()

    for prefix in ("", "file://"):
        with pytest.raises(ServingError, match="refused"):
            policy.check(f"{prefix}{tmp_path}/artifacts/m{mark}/../../secret")


@pytest.mark.parametrize(
    "source",
    ["file:///models/1?x", "file:///models/1#x", "mlflow-artifacts:/1/run?x", "http://models.example:5000/a#x"],
)
def test_an_address_with_a_query_or_a_fragment_is_refused(source: str) -> None:
    """One reader of the URI cuts there, another does not."""
    with pytest.raises(ServingError, match=r"no query \('\?'\) and no fragment"):
        SourcePolicy("http://models.example:5000", [Path("/models")]).check(source)


@pytest.mark.parametrize("source", ["http://[", "/models/\0", "file:///models/%00", "/models/" + "x" * 5000])
def test_an_address_that_cannot_be_read_is_refused(source: str) -> None:
    """As a mistake of whoever wrote it, not as one of ours."""
    with pytest.raises(ServingError, match="cannot be read"):
        SourcePolicy("http://models.example:5000", [Path("/models")]).check(source)


def test_links_that_lead_in_a_circle_are_refused(tmp_path: Path) -> None:
    """They lead nowhere."""
    (tmp_path / "circle").symlink_to(tmp_path / "circle")

    with pytest.raises(ServingError, match="refused"):
        SourcePolicy("sqlite:///x", [tmp_path]).check(f"{tmp_path}/circle/model")


def test_credentials_are_not_shown() -> None:
    """A URI with a password must not reach a log or a client."""
    assert without_credentials("https://user:secret@host:1/x") == "https://host:1/x"
    assert without_credentials("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"
