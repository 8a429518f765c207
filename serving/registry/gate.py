"""The validation gate: everything that is checked of a version before it may serve, as one report.

The same rules hold in the gateway, which applies them while it fetches (files, digests, graph) and while a replica
starts (the proof); here they are run on demand, each with its own verdict, in the CI of whoever trains the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from serving.backends.outgoing import Reach
from serving.protocol.errors import ServingError
from serving.registry.artifact import PROFILE, is_wanted
from serving.registry.digest import file_digests, model_digest
from serving.registry.finding import Finding, Report, failed, ok, skipped, warning
from serving.registry.isolated_load import DEFAULT_TIMEOUT_S, try_version
from serving.registry.metadata import read_metadata
from serving.registry.model_files import find_model
from serving.registry.node_memory import node_room
from serving.registry.options import GOLDEN_SHA256_TAG, PROFILE_TAG, SHA256_TAG, parse_options
from serving.registry.scoring import Labelled

_MAX_SHOWN: Final = 5


def check_version(
    subject: str,
    folder: Path,
    tags: Mapping[str, str],
    reach: Reach,
    *,
    example: bytes | None = None,
    labelled: Labelled | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> Report:
    """Check a version's folder.

    Args:
        subject: how to call the version.
        folder: its files.
        tags: its registry tags.
        reach: how far a backend may reach.
        example: a V2 inference request, for files that have no golden example yet.
        labelled: a labelled table, to score the model on.
        timeout_s: how long loading and proving may take.
    """
    findings = list(_static(folder, tags))
    if not any(finding.verdict == "failed" for finding in findings):
        trial = try_version(
            folder,
            tags,
            reach,
            example=example,
            labelled=labelled,
            limit_bytes=node_room().free_bytes,
            timeout_s=timeout_s,
        )
        findings += trial.findings
        if trial.memory_bytes:
            findings.append(ok("memory", f"{trial.memory_bytes / 2**20:.0f} MiB at its peak, for loading and running"))
    return Report(subject, tuple(findings))


def _static(folder: Path, tags: Mapping[str, str]) -> Iterator[Finding]:
    """Check what can be seen without loading; stops at the first failure that makes the rest meaningless."""
    try:
        digests = file_digests(folder)
    except ServingError as error:
        yield failed("files", str(error), "log the model again, as plain files")
        return
    yield _files(digests)
    yield _digest(digests, tags)
    yield _options(tags)
    yield _graph(folder)
    yield _profile(folder, tags)


def _files(digests: Mapping[str, str]) -> Finding:
    unwanted = sorted(path for path in digests if not is_wanted(path))
    if unwanted:
        shown = ", ".join(unwanted[:_MAX_SHOWN]) + (", …" if len(unwanted) > _MAX_SHOWN else "")
        return warning("files", f"never fetched, being code or data: {shown}", "leave them out of the model's folder")
    return ok("files", f"{len(digests)} files, all models or metadata")


def _digest(digests: Mapping[str, str], tags: Mapping[str, str]) -> Finding:
    found, registered = model_digest(digests), tags.get(SHA256_TAG)
    if registered is None:
        return skipped("digest", f"sha256 {found or 'of nothing'}; none is registered yet")
    if found != registered:
        return failed("digest", f"sha256 {found}, registered was {registered}", "register the files as a new version")
    golden = " and the golden example's" if GOLDEN_SHA256_TAG in tags else ""
    return ok("digest", f"sha256 {found}{golden} as registered")


def _options(tags: Mapping[str, str]) -> Finding:
    try:
        options = parse_options(tags)
    except ServingError as error:
        return failed("tags", str(error), "set the tag right, or remove it")
    return ok("tags", f"backend {options.backend}, {options.min_replicas} to {options.max_replicas} replicas")


def _graph(folder: Path) -> Finding:
    try:
        files = find_model(folder)
    except ServingError as error:
        return failed("graph", str(error), "export the model again")
    if files.onnx is None:
        return skipped("graph", "the version has no ONNX file")
    opsets = ", ".join(f"{domain} {version}" for domain, version in files.opsets.items())
    return ok("graph", f"standard operators only ({opsets}), external data inside the folder")


def _profile(folder: Path, tags: Mapping[str, str]) -> Finding:
    path = folder / PROFILE
    mend = "make one with `shepherd model profile NAME --version V --data FILE.csv`, for drift to be measured from"
    if not path.is_file():
        return warning("profile", f"no {PROFILE}: drift would be measured from the first requests", mend)
    try:
        content = read_metadata(path)
        document = json.loads(content)
    except ServingError as error:
        return failed("profile", str(error), mend)
    except (ValueError, RecursionError) as error:
        return failed("profile", f"{PROFILE} is no JSON: {error}", mend)
    if not isinstance(document, dict):
        return failed("profile", f"{PROFILE} is no JSON object", mend)
    found, attached = hashlib.sha256(content).hexdigest(), tags.get(PROFILE_TAG)
    if attached is not None and found != attached:
        return failed("profile", f"sha256 {found}, attached was {attached}", "register the version again")
    return ok("profile", f"{document.get('rows', '?')} rows, {len(document.get('columns', ()))} columns")
