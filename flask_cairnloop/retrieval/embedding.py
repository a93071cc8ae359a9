"""The guard between us and whatever ``CAIRNLOOP_EMBEDDER`` answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from flask_cairnloop.errors import CairnloopError, HookFailed
from flask_cairnloop.retrieval.types import Embedder
from flask_cairnloop.telemetry import EMBED, span


class EmbeddingFailed(CairnloopError):
    """The embedder raised, or answered something that must not be stored or searched with."""


def embed(embedder: Embedder, texts: Sequence[str], kind: Literal["query", "passage"]) -> list[list[float]]:
    """Vectors that were checked: one a text, of the promised length, finite and not all zero.

    Args:
        embedder: the host's or the local one.
        texts: what to embed.
        kind: a question, or a passage that may answer one.

    Raises:
        EmbeddingFailed: in every other case, whatever the embedder did.
    """
    with span(EMBED) as note:
        note("embedding.model_name", embedder.model)
        note("embedding.kind", kind)
        note("embedding.texts", len(texts))
        try:
            answer = [[float(number) for number in vector] for vector in embedder.embed(texts, kind=kind)]
        except EmbeddingFailed:
            raise
        except HookFailed as fault:
            what = "did not answer in time" if fault.reason == "timeout" else f"raised {fault.detail}"
            raise EmbeddingFailed(f"The embedder {what}.") from fault
        except Exception as fault:
            raise EmbeddingFailed(f"The embedder raised {type(fault).__name__}.") from fault
        if len(answer) != len(texts):
            raise EmbeddingFailed(f"The embedder answered {len(answer)} vectors for {len(texts)} texts.")
        for vector in answer:
            _check(vector, embedder.dimensions)
        return answer


def _check(vector: list[float], dimensions: int) -> None:
    if len(vector) != dimensions:
        raise EmbeddingFailed(f"The embedder answered {len(vector)} dimensions instead of {dimensions}.")
    if not all(math.isfinite(number) for number in vector):
        raise EmbeddingFailed("The embedder answered a number that is not finite.")
    if not any(vector):
        raise EmbeddingFailed("The embedder answered a vector of zeros.")
