"""What stands for questions, for words and for people, where they are to be told apart and not to be read.

All are digests under the app's secret key. Who has the rows and not the key can neither guess what was asked nor who
asked it; with another key the same question is a new one.
"""

from __future__ import annotations

import hashlib
import hmac

from flask_cairnloop.context import current
from flask_cairnloop.database.words import words_of

MOST_TERMS = 60  # different words of a question


def normalized(question: str) -> str:
    """A question however it was written: its words in small letters, with one space between them."""
    return " ".join(words_of(question))


def fingerprint(question: str) -> str:
    """What two ways of writing one question have in common."""
    return _digest("question", normalized(question)).hex()


def asker(kind: str, name: str) -> str:
    """What stands for a person.

    Args:
        kind: what names them: ``"customer"``, ``"visitor"`` or ``"operator"``.
    """
    return _digest(kind, name).hex()


def terms(question: str) -> list[int]:
    """The different words of a question, as numbers of 64 bits; never 0."""
    words = list(dict.fromkeys(words_of(question)))[:MOST_TERMS]
    return sorted({int.from_bytes(_digest("word", word)[:8], signed=True) or 1 for word in words})


def _digest(kind: str, words: str) -> bytes:
    key = current().app.secret_key or ""
    secret = key if isinstance(key, bytes) else key.encode()
    return hmac.digest(secret, f"cairnloop gap {kind}:{words}".encode(errors="replace"), hashlib.sha256)
