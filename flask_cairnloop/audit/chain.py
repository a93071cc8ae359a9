"""The digests of the audit log: pure functions over rows, the same whoever computes them.

A link's digest covers the link before it and its own entry, as in a certificate log (RFC 6962 hashes a tree; a chain is
enough where whoever verifies reads everything). Words that a person wrote are in it as a salted digest only, so that
erasing them breaks nothing.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC
from typing import Final

from flask_cairnloop.audit.models import AuditEntry

GENESIS: Final = bytes(32)  # what stands before the first link


def entry_digest(entry: AuditEntry) -> bytes:
    """SHA-256 over every column of an entry."""
    values = [
        entry.id,
        entry.occurred_at.astimezone(UTC).isoformat(timespec="microseconds"),
        str(entry.actor_kind),
        entry.actor_id,
        entry.actor_name,
        entry.action,
        entry.subject_type,
        entry.subject_id,
        entry.data,
        entry.text_digest.hex() if entry.text_digest is not None else None,
    ]
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).digest()


def link_digest(before: bytes, entry: bytes) -> bytes:
    """The digest of a link from the digests of the link before it and of its entry."""
    return hashlib.sha256(before + entry).digest()


def text_digest(salt: bytes, words: str) -> bytes:
    """What an entry keeps of its text."""
    return hashlib.sha256(salt + words.encode(errors="surrogatepass")).digest()
