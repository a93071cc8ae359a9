"""Addresses of files that a page can put into an ``<img>``: for one customer, one file and a short time. Pure.

The chat knows its customer by a token in its memory, which no image's address can carry. So each address carries a
ticket: until when it holds, and a signature over that, the file and the customer, of whom nothing stands in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final
from uuid import UUID

HOLDS: Final = 3600  # seconds, of which the last address of a step has half
STEP: Final = 1800  # the same address within this time, so that a browser knows it again
_TICKET: Final = re.compile(r"([0-9]{1,12})\.([0-9a-f]{64})")


def ticket(secret: bytes, ref: str, file: UUID, moment: float) -> str:
    """What an address of this file carries for this customer at this moment."""
    until = int(moment // STEP) * STEP + HOLDS
    return f"{until}.{_signature(secret, ref, file, until)}"


def holds(secret: bytes, ref: str, file: UUID, given: str, moment: float) -> bool:
    """Whether a ticket is one of ours for this file and customer, and still holds. An empty secret signs nothing."""
    found = _TICKET.fullmatch(given)
    until = int(found[1]) if found else 0
    # Compared whatever else is wrong with it, in a time that tells nothing.
    right = hmac.compare_digest(_signature(secret, ref, file, until), found[2] if found else "")
    return bool(secret) and right and moment < until


def _signature(secret: bytes, ref: str, file: UUID, until: int) -> str:
    # The reference comes last: it may hold anything, and nothing behind it can be mistaken for a part of it.
    words = f"cairnloop.widget.file\n{until}\n{file}\n{ref}"
    return hmac.new(secret, words.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
