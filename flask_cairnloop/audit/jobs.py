"""What the relay does for the audit log: seal it within seconds, and cut it where the host asks for that."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from flask_cairnloop.audit import sealing
from flask_cairnloop.clock import now
from flask_cairnloop.jobs.registry import chore

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop


@chore("audit.seal", every=1)
def seal(_: Cairnloop, session: Session) -> bool:
    """Put what was committed behind the last link."""
    return sealing.seal(session) == sealing.BATCH


@chore("audit.cut", every=600)
def cut(cairnloop: Cairnloop, session: Session) -> bool:
    """Remove what is older than ``RETENTION_AUDIT``."""
    seconds = cairnloop.settings.retention_audit
    if seconds == 0:
        return False
    return sealing.cut(session, now() - timedelta(seconds=seconds)) == sealing.CUT_BATCH
