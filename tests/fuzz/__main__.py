"""`make fuzz`: atheris on every reader of bytes, then schemathesis on both APIs of a live gateway; a time limit each.

A finding ends it with exit status 1 and the input: put that among the seeds or into a test, then mend the reader.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from tests import models
from tests.fuzz.inference_api import document
from tests.fuzz.targets import TARGETS
from tests.gateway import RunningGateway, running_gateway

_MODEL: Final = "fuzzed"
_MAX_BYTES: Final = 4096
#: Slower than this is a hang.
_ANSWER_S: Final = 20
_HEADER: Final = "Authorization: Bearer "


def main() -> int:
    """Fuzz everything; the exit status is 1 when anything was found."""
    arguments = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    arguments.add_argument("--seconds", type=int, default=20, help="for each reader")
    arguments.add_argument("--examples", type=int, default=50, help="for each operation of an API")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        found = [reader for reader in TARGETS if not _fuzz_reader(reader, folder, given.seconds)]
        with running_gateway(folder / "state", home=folder) as gateway:
            found += _fuzz_apis(gateway, folder, given.examples)
    print(f"found something in: {', '.join(found)}" if found else "found nothing")
    return 1 if found else 0


def _fuzz_reader(name: str, folder: Path, seconds: int) -> bool:
    """Run atheris in a process of its own, which it ends; tell whether all was well."""
    corpus = folder / name
    corpus.mkdir()
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / str(number)).write_bytes(seed)
    print(f"── {name}", flush=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_MAX_BYTES}",
        "-timeout=5",
        "-rss_limit_mb=2048",
        "-verbosity=0",
    ]
    command = [sys.executable, "-m", "tests.fuzz.with_atheris", name, str(corpus), *options]
    return subprocess.run(command, check=False).returncode == 0


def _fuzz_apis(gateway: RunningGateway, folder: Path, examples: int) -> list[str]:
    """Run schemathesis on the admin API and on the inference API; name those where it found something."""
    with gateway.admin as admin:
        admin.register(_MODEL, models.add(1.0), tags={})
    gateway.route(_MODEL, ("stable", 1, 10_000))
    described = folder / "inference.json"
    described.write_bytes(msgspec.json.encode(document(_MODEL)))
    admin_url = f"http://127.0.0.1:{gateway.admin_port}"
    apis = {"inference API": (str(described), gateway.url), "admin API": (f"{admin_url}/openapi.json", admin_url)}
    found = []
    for name, (schema, url) in apis.items():
        print(f"── {name}", flush=True)
        program = str(Path(sys.executable).with_name("schemathesis"))
        command = [program, "run", schema, "--url", url, "--header", _HEADER + gateway.token]
        options = ["--checks", "not_a_server_error", "--phases", "fuzzing", "--max-examples", str(examples)]
        limits = ["--request-timeout", str(_ANSWER_S), "--generation-deterministic", "--mode", "all", "--no-color"]
        if subprocess.run([*command, *options, *limits], check=False, cwd=folder).returncode:
            found.append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
