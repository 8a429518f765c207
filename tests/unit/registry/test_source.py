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

    policy.check((tmp_path / "artifacts" / "1").as_uri())
    policy.check(str(tmp_path / "artifacts" / "1"))
    for path in ("artifacts/../..", "artifacts/out", "artifacts-of-another", "artifacts/%2e%2e/%2e%2e"):
        with pytest.raises(ServingError, match="allowed folders"):
            policy.check(f"file://{tmp_path}/{path}")


def test_credentials_are_not_shown() -> None:
    """A URI with a password must not reach a log or a client."""
    assert without_credentials("https://user:secret@host:1/x") == "https://host:1/x"
    assert without_credentials("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"
