"""Who may call the admin API: bearer tokens with roles, hashed on disk, compared in constant time."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

import msgspec

from router.access.key import digest_of
from router.adapters.secret import new_secret
from router.admin.operations import Caller, Role
from router.policy.actors import ADMIN
from serving.atomic_file import replace_file

TOKEN_FILE: Final = "admin.token"  # noqa: S105 - a file name
HASHES_FILE: Final = "tokens.json"
INITIAL_NAME: Final = ADMIN
_PREFIX: Final = "shp_"


class _Entry(msgspec.Struct, frozen=True):
    name: str
    role: str
    sha256: str


class TokenStore:
    """The tokens of one gateway, in two files of its state directory, both readable by their owner only.

    `admin.token` holds the first token in the clear, for the command line of the same user on the same machine;
    `tokens.json` holds names, roles and hashes of all. Tokens are 256 random bits, so one round of SHA-256 is enough:
    there is nothing to guess.
    """

    def __init__(self, state_dir: Path) -> None:
        self._token_file = state_dir / TOKEN_FILE
        self._hashes_file = state_dir / HASHES_FILE
        self._loaded_at: tuple[int, int] | None = None
        self._entries: tuple[_Entry, ...] = ()

    def ensure_admin(self) -> Path:
        """Create the first token unless it is there and valid; return the file that holds it."""
        token = self._token_file.read_text().strip() if self._token_file.exists() else ""
        if not token:
            token = new_secret(_PREFIX)
            replace_file(self._token_file, token.encode() + b"\n", durable=True)
        self._replace(INITIAL_NAME, _Entry(INITIAL_NAME, Role.ADMIN.name.lower(), digest_of(token)))
        return self._token_file

    def add(self, name: str, role: Role) -> str:
        """Create a token for `name`, ending the one it had; return it, for the only time."""
        token = new_secret(_PREFIX)
        self._replace(name, _Entry(name, role.name.lower(), digest_of(token)))
        return token

    def remove(self, name: str) -> bool:
        """End a token; tell whether there was one."""
        return self._replace(name, None)

    def names(self) -> tuple[Caller, ...]:
        """List who has a token."""
        self._reload()
        return tuple(Caller(entry.name, Role[entry.role.upper()]) for entry in self._entries)

    def authenticate(self, token: str) -> Caller | None:
        """Find the caller that a token belongs to; time does not depend on which entry matches, if any."""
        self._reload()
        digest = digest_of(token)
        found: _Entry | None = None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return Caller(found.name, Role[found.role.upper()]) if found else None

    def _reload(self) -> None:
        """Read the hashes again when the file has changed, so that a removed token ends at once, without a restart."""
        try:
            stat = self._hashes_file.stat()
        except FileNotFoundError:
            self._entries, self._loaded_at = (), None
            return
        version = (stat.st_mtime_ns, stat.st_ino)
        if version != self._loaded_at:
            self._entries = msgspec.json.decode(self._hashes_file.read_bytes(), type=tuple[_Entry, ...])
            self._loaded_at = version

    def _replace(self, name: str, entry: _Entry | None) -> bool:
        self._reload()
        kept = tuple(known for known in self._entries if known.name != name)
        had = len(kept) < len(self._entries)
        replace_file(self._hashes_file, msgspec.json.encode(kept + ((entry,) if entry else ())), durable=True)
        self._reload()
        return had
