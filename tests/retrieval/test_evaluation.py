"""``flask cairnloop eval`` measures the real search and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop.retrieval import evaluation
from flask_cairnloop.retrieval.evaluation import auroc, figures, percentile
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
    assert set(told["lanes"]) == {"keyword", "vector", "fused"}
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
