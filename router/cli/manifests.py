"""Policies as files: the documents of the API in YAML, read from a folder, compared and written. No gateway in here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from router.policy.document import parse_policy, to_document
from serving.protocol.errors import ServingError

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
#: What an answer of the API holds beside the document.
_BESIDE: Final = ("revision", "actor", "reason", "at", "restores")

#: For the version of a variant that names only an alias, while the rest of its document is checked.
_STAND_IN: Final = 2**31 - 1

Document = dict[str, Any]


class ManifestError(ValueError):
    """A file is no policy: names the file and the field."""


class Difference(NamedTuple):
    """What must change for the gateway to be as the files say."""

    model: str
    revision: int
    """That stands on the gateway; 0: none."""
    before: Document | None
    after: Document | None


def read_manifests(path: Path) -> dict[str, Document]:
    """Read every policy of a file or folder (with its subfolders), by model, in the form that the API gives back.

    Raises:
        ManifestError: a document is no policy, or two are for one model.
        OSError: a file cannot be read.
    """
    files = sorted(each for each in path.rglob("*") if each.suffix in _SUFFIXES) if path.is_dir() else [path]
    found: dict[str, Document] = {}
    origin: dict[str, Path] = {}
    for file in files:
        for document in _documents(file):
            model = document["model"]
            if model in found:
                raise ManifestError(f"{file}: model {model} is in {origin[model]} already")
            found[model], origin[model] = document, file
    return found


def canonical(document: Mapping[str, Any]) -> Document:
    """Bring a policy to its one form: defaults left out, what only the gateway writes left out.

    A variant that names only an alias goes on doing so: the gateway knows where that points.

    Raises:
        ServingError: INVALID, naming the field.
    """
    given = {key: value for key, value in document.items() if key not in _BESIDE}
    variants = given.get("variants")
    if not isinstance(variants, list):
        return to_document(parse_policy(given))
    loose = [isinstance(each, dict) and "alias" in each and "version" not in each for each in variants]
    stand_ins = [
        each | {"version": _STAND_IN} if is_loose else each for each, is_loose in zip(variants, loose, strict=True)
    ]
    whole = to_document(parse_policy(given | {"variants": stand_ins}))
    for variant, is_loose in zip(whole["variants"], loose, strict=True):
        if is_loose:
            del variant["version"]
    return whole


def compare(wanted: Mapping[str, Document], standing: Iterable[Mapping[str, Any]], *, prune: bool) -> list[Difference]:
    """List what differs, by model; policies without a file count only with `prune`."""
    current = {policy["model"]: policy for policy in standing}
    differences = []
    for model in sorted(wanted.keys() | current.keys()):
        there = current.get(model)
        before, after = canonical(there) if there else None, wanted.get(model)
        if before is not None and after is not None:
            after = _following(after, before)
        if before != after and (after is not None or prune):
            differences.append(Difference(model, there["revision"] if there else 0, before, after))
    return differences


def _following(wanted: Document, standing: Document) -> Document:
    """Take a variant that names only an alias for what it is: where it stands, if it follows that alias there."""
    versions = {(each["name"], each.get("alias")): each["version"] for each in standing["variants"]}
    variants = []
    for variant in wanted["variants"]:
        key = (variant["name"], variant.get("alias"))
        is_following = "version" not in variant and key in versions
        variants.append(_ordered(variant, versions[key]) if is_following else variant)
    return wanted | {"variants": variants}


def _ordered(variant: Document, version: int) -> Document:
    return {"name": variant["name"], "version": version} | variant


def render(documents: Iterable[Mapping[str, Any]]) -> str:
    """Write policies as YAML, one document each, by model: what `read_manifests` reads back."""
    ordered = sorted((canonical(document) for document in documents), key=lambda document: str(document["model"]))
    return "".join("---\n" + _yaml(document) for document in ordered)


def diff_lines(difference: Difference) -> list[str]:
    """Show a difference as people know it from `diff -u`."""
    one, two = (_yaml(side).splitlines() if side else [] for side in (difference.before, difference.after))
    stands = f"revision {difference.revision}" if difference.revision else "no policy"
    heads = (f"{difference.model} ({stands})", f"{difference.model} (files)")
    return list(difflib.unified_diff(one, two, *heads, lineterm=""))


def _documents(file: Path) -> list[Document]:
    try:
        loaded = [each for each in yaml.safe_load_all(file.read_text(encoding="utf-8")) if each is not None]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ManifestError(f"{file}: {' '.join(str(error).split())}") from None
    try:
        return [canonical(_mapping(file, each)) for each in loaded]
    except ServingError as error:
        raise ManifestError(f"{file}: {error.message}") from None


def _mapping(file: Path, loaded: Any) -> Mapping[str, Any]:
    if not isinstance(loaded, dict):
        raise ManifestError(f"{file}: holds a {type(loaded).__name__}, not a policy")
    return loaded


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
