"""The file of log rules: read by every router, with one key; a gateway that cannot read it does not start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.adapters.files.log_rules import read_log_rules
from router.cli.main import cli
from serving.protocol.errors import ServingError

RULES = """
models:
  churn:
    sample_bp: 5000
    redact:
      - {tensor: email, action: hash}
      - {tensor: profile, path: "$.user.address", action: drop}
  "*": {sample_bp: 100, key: hash}
"""


def test_rules_say_how_much_is_kept_of_each_model(tmp_path: Path) -> None:
    """`*` speaks for those that are not named."""
    (tmp_path / "rules.yaml").write_text(RULES)

    read = read_log_rules(tmp_path / "rules.yaml", tmp_path / "log.key")

    assert read.sample_bp == {"churn": 5000}
    assert read.other_sample_bp(10_000) == 100
    assert read.redactors is not None
    assert read.redactors.of("churn") is not read.redactors.of("anything")


def test_without_a_file_there_are_no_rules_and_no_key(tmp_path: Path) -> None:
    """The hot path then has nothing to ask."""
    assert read_log_rules(None, tmp_path / "log.key").redactors is None
    assert not (tmp_path / "log.key").exists()


def test_routers_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """Else equal values would have different hashes; only its owner can read it."""
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)

    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda _: read_log_rules(file, tmp_path / "log.key"), range(8)))

    hashes = {each.redactors.of("x").sticky_key("ann") for each in read if each.redactors}  # type: ignore[union-attr]
    assert len(hashes) == 1
    assert (tmp_path / "log.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.key", "rules.yaml"]


@pytest.mark.parametrize("text", ["models: [", "models: {m: {redact: [{tensor: x, action: burn}]}}", "other: 1"])
def test_a_gateway_with_wrong_rules_does_not_start(tmp_path: Path, text: str) -> None:
    """It says why at once, with the status of a wrong setting."""
    (tmp_path / "rules.yaml").write_text(text)

    result = CliRunner().invoke(
        cli, ["up", "--state", str(tmp_path / "state"), "--log-rules-file", str(tmp_path / "rules.yaml")]
    )

    assert result.exit_code == 2
    assert "log_rules_file" in result.output
    with pytest.raises(ServingError):
        read_log_rules(tmp_path / "rules.yaml", tmp_path / "log.key")
