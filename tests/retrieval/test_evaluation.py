"""``flask cairnloop eval`` measures the real search and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.retrieval import evaluation, grounding
from flask_cairnloop.retrieval.evaluation import auroc, figures, percentile
from flask_cairnloop.retrieval.local import default_embedder
from flask_cairnloop.retrieval.scratch import PREFIX, scratch_session


def scratch_schemas(session: Session) -> list[str]:
    session.rollback()
    names = text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)")
    return list(session.scalars(names, {"prefix": PREFIX}))


def test_retrieval_prints_the_figures_of_every_lane(app: Flask, session: Session, library_folder: Path) -> None:
    result = app.test_cli_runner().invoke(args=["cairnloop", "eval", "retrieval", str(library_folder), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["queries"], told["documents"]) == (15, 12)
    assert set(told["lanes"]) == {"keyword", "vector", "memory", "fused"}
    assert told["lanes"]["memory"]["ndcg@10"] == 0  # nothing was ever asked before
    assert told["stages"]["all"] == told["lanes"]["fused"]
    assert told["ndcg@10"] > 0.9
    assert told["ndcg@10"] == told["lanes"]["fused"]["ndcg@10"]
    assert 0 < told["p50_ms"] <= told["p95_ms"]
    assert set(told) >= {"mrr@10", "hit@1", "recall@5", "recall@10"}
    assert scratch_schemas(session) == []
    assert session.execute(text("SELECT count(*) FROM cairnloop.articles")).scalar_one() == 0


def test_grounding_prints_rates_at_the_threshold(app: Flask, session: Session, library_folder: Path) -> None:
    file = library_folder / "grounding.jsonl"
    arguments = ["cairnloop", "eval", "grounding", str(file), "--kb", str(library_folder)]
    result = app.test_cli_runner().invoke(args=[*arguments, "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["n"], told["threshold"]) == (23, 0.6)
    assert told["auroc"] > 0.95
    assert told["false_answer_rate"] == 0
    assert told["false_answer_rate_at"] == {"0.5": 0, "0.8": 0}
    assert "auroc" in app.test_cli_runner().invoke(args=arguments).stdout
    assert scratch_schemas(session) == []


def test_history_teaches_and_what_is_asked_again_is_dropped(
    app: Flask, session: Session, library_folder: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in (library_folder / "queries.jsonl").read_text().splitlines()]
    judged = (library_folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
    answers = {line.split("\t")[0]: line.split("\t")[1] for line in judged}
    rows = [{"query": f"{line['text']} Thank you", "corpus_id": answers[line["_id"]]} for line in lines]
    rows += [{"query": lines[0]["text"], "corpus_id": "anything"}, {"query": "Of old", "corpus_id": "gone"}]
    history = tmp_path / "history.jsonl"
    history.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["cairnloop", "eval", "retrieval", str(library_folder), "--history", str(history)]
    told = json.loads(app.test_cli_runner().invoke(args=[*arguments, "--json"]).stdout)
    assert (told["history"], told["history_dropped"]) == (len(lines) + 1, 1)
    assert told["lanes"]["memory"]["hit@1"] > 0.9
    table = app.test_cli_runner().invoke(args=[*arguments, "--ablation"]).stdout.splitlines()
    assert table[0].startswith("| | hit@1")
    assert len(table) == 2 + len(told["lanes"]) + len(told["stages"])
    assert scratch_schemas(session) == []


def test_vectors_that_say_nothing_of_the_question_make_the_vector_lane_collapse(
    make_app: Callable[..., Flask], library_folder: Path
) -> None:
    model = default_embedder()
    assert model is not None

    class Blind:
        model = "blind"
        dimensions = 384

        def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Sequence[Sequence[float]]:
            # Zeros themselves are refused at the door; this is as near as one comes.
            return [[1e-6] * 384 for _ in texts] if kind == "query" else default.embed(texts, kind)

    default = model
    blind = make_app(EMBEDDER=Blind())
    result = blind.test_cli_runner().invoke(args=["cairnloop", "eval", "retrieval", str(library_folder), "--json"])
    told = json.loads(result.stdout)
    assert told["lanes"]["vector"]["ndcg@10"] < 0.5 < told["lanes"]["keyword"]["ndcg@10"]


def test_a_decision_fitted_to_the_hosts_questions_holds_from_then_on(
    app: Flask, session: Session, library_folder: Path
) -> None:
    file = library_folder / "grounding.jsonl"
    arguments = ["cairnloop", "eval", "grounding", str(file), "--kb", str(library_folder), "--json"]
    assert grounding.calibration(session).version == grounding.WITH_VECTORS.version
    told = json.loads(app.test_cli_runner().invoke(args=[*arguments, "--fit"]).stdout)
    assert told["auroc"] > 0.95
    session.rollback()
    held = grounding.calibration(session)
    assert held.version == told["version"]
    assert held.weights.keys() == set(grounding.FITTED)
    # Measuring later says how the fitted one does.
    assert json.loads(app.test_cli_runner().invoke(args=arguments).stdout)["auroc"] > 0.9
    assert scratch_schemas(session) == []


def test_bad_data_is_named_and_the_schema_is_removed(app: Flask, session: Session, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a"}\n')
    result = app.test_cli_runner().invoke(args=["cairnloop", "eval", "retrieval", str(tmp_path)])
    assert result.exit_code == 1
    assert "line 1: needs _id, text" in result.stderr
    assert scratch_schemas(session) == []


def test_an_evaluation_that_is_told_to_stop_cleans_up(
    app: Flask, session: Session, library_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "evaluate_retrieval", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    result = app.test_cli_runner().invoke(args=["cairnloop", "eval", "retrieval", str(library_folder)])
    assert result.exit_code == 143
    assert scratch_schemas(session) == []


def test_what_a_killed_run_left_is_swept_and_what_is_in_use_is_not(app: Flask, session: Session) -> None:
    session.execute(text(f"CREATE SCHEMA {PREFIX}left_behind"))
    session.commit()
    with app.app_context(), scratch_session():
        assert f"{PREFIX}left_behind" not in scratch_schemas(session)
        with scratch_session():
            assert len(scratch_schemas(session)) == 2
    assert scratch_schemas(session) == []


def test_figures_are_the_usual_ones() -> None:
    told = figures([["a", "b", "c"], ["x", "y"]], [{"b": 1}, {"z": 1}])
    assert told == {"ndcg@10": 0.3155, "mrr@10": 0.25, "hit@1": 0, "recall@5": 0.5, "recall@10": 0.5}
    assert auroc([0.9, 0.5], [0.5, 0.1]) == pytest.approx(0.875)
    assert percentile([3, 1, 2], 0.5) == 2
