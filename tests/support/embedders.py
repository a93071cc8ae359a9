"""Embedders for tests: words are directions, so that what shares words is near, without a model."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Sequence


class Words:
    """One whose vectors count words. Two of different names place the same word differently.

    Args:
        model: its fingerprint.
        dimensions: how long its vectors are.
        before: called with the kind of texts before they are embedded; it may wait or raise.
    """

    def __init__(self, model: str, dimensions: int = 64, before: Callable[[str], None] | None = None) -> None:
        self.model = model
        self.dimensions = dimensions
        self.before = before
        self.passages = 0
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:
        if self.before is not None:
            self.before(kind)
        if kind == "passage":
            with self._lock:
                self.passages += len(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.001] * self.dimensions
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(f"{self.model} {word}".encode()) % self.dimensions] += 1.0
        return vector


OLD = Words("words-old", 96)  # for processes of their own, which are told of it by its name
