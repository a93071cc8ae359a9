"""``flask cairnloop eval``: measures search, grounding, drafts and gaps on given data, in a scratch schema."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.drafting import evaluation as drafts
from flask_cairnloop.errors import CairnloopError
from flask_cairnloop.retrieval import evaluation, grounding
from flask_cairnloop.retrieval.scratch import scratch_session
from flask_cairnloop.upkeep.evaluation import evaluate_clusters

T = TypeVar("T")
ACTOR = Actor.system("cli")
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
history_option = click.option(
    "--history", metavar="FILE", type=FILE, help='Past answered questions, lines {"query", "corpus_id"}, oldest first.'
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group("eval")
def evaluate() -> None:
    """Measure search, grounding, drafts and gaps. The app's own data is not touched."""


@evaluate.command("retrieval")
@click.argument("folder", metavar="DIR", type=FOLDER)
@history_option
@click.option("--ablation", is_flag=True, help="Print what each lane and stage adds, as a table in Markdown.")
@as_json_option
@with_appcontext
def retrieval_command(folder: Path, history: Path | None, ablation: bool, as_json: bool) -> None:
    """Search a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv) for each of its judged questions."""

    def measure(session: Session) -> dict[str, Any]:
        return evaluation.evaluate_retrieval(session, folder, _progress, history)

    figures = _run(measure)
    if ablation and not as_json:
        click.echo("\n".join(_ablation(figures)))
    else:
        _show(figures, as_json)


@evaluate.command("grounding")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--kb", "folder", required=True, metavar="DIR", type=FOLDER, help="Folder with corpus.jsonl.")
@history_option
@click.option("--fit", is_flag=True, help="Fit the decision to these questions and keep it for this app.")
@as_json_option
@with_appcontext
def grounding_command(file: Path, folder: Path, history: Path | None, fit: bool, as_json: bool) -> None:
    """Decide for each line {"query", "answerable"} whether the documents of --kb cover it.

    With --fit the figures are those of the fitted decision on the very questions it was fitted on; measure it on
    others before you rely on it.
    """
    grounded, taught = _run(lambda session: evaluation.ground(session, file, folder, _progress, history))
    scores, kept = grounded.scores, dict[str, Any]()
    if fit:
        fitted, kept = _fit(grounded)
        scores = [fitted.probability(numbers) if numbers else 0.0 for numbers in grounded.numbers]
    _show({**evaluation.grounding_figures(scores, grounded.answerable), **taught, **kept}, as_json)


@evaluate.command("drafts")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--kb", "folder", required=True, metavar="DIR", type=FOLDER, help="Folder with corpus.jsonl.")
@click.option(
    "--report",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Markdown file for every draft in full.",
)
@click.option("--most", default=50, show_default=True, type=click.IntRange(1), help="Questions to draft for.")
@as_json_option
@with_appcontext
def drafts_command(file: Path, folder: Path, report: Path, most: int, as_json: bool) -> None:
    """Write the built-in engine's draft for each line {"title", "body"} over the documents of --kb.

    Every draft goes into the report in full, to be read. The report holds the words of the questions.
    """
    _show(_run(lambda session: drafts.evaluate_drafts(session, file, folder, report, _progress, most)), as_json)


@evaluate.command("clusters")
@click.argument("file", metavar="FILE", type=FILE)
@as_json_option
@with_appcontext
def clusters_command(file: Path, as_json: bool) -> None:
    """Gather the texts of lines {"text", "label"}, one by one, as questions without an answer are."""
    _show(_run(lambda session: evaluate_clusters(session, file, _progress)), as_json)


def _fit(grounded: evaluation.Grounded) -> tuple[grounding.Calibration, dict[str, Any]]:
    """Fit the decision to the app's questions, and keep it in the app's database."""
    cairnloop = current()
    embedder = cairnloop.hooks.embedder()
    if embedder is None:
        raise click.ClickException("There is no embedding model, and without one there is nothing to fit.")
    try:
        bias, weights = grounding.fit(grounded.numbers, grounded.answerable)
    except ImportError as fault:
        raise click.ClickException("Fitting needs numpy: pip install 'flask-cairnloop[local]'") from fault
    except ValueError as fault:
        raise click.ClickException(str(fault)) from fault
    fitted = grounding.Calibration("", bias, weights)
    scores = [fitted.probability(numbers) if numbers else 0.0 for numbers in grounded.numbers]
    session = cairnloop.session()
    auroc = evaluation.grounding_figures(scores, grounded.answerable)["auroc"]
    version = grounding.keep(session, embedder.model, fitted, questions=len(scores), auroc=auroc, actor=ACTOR)
    session.commit()
    return fitted, {"version": version, "bias": round(bias, 4), "weights": {k: round(v, 4) for k, v in weights.items()}}


def _run(measure: Callable[[Session], T]) -> T:
    # A plain SIGTERM would end the process before the scratch schema is dropped.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with scratch_session() as session:
            return measure(session)
    except CairnloopError as fault:
        raise click.ClickException(str(fault)) from fault
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(figures: dict[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(figures) if as_json else "\n".join(_table(figures)))


def _ablation(figures: dict[str, Any]) -> Iterator[str]:
    """The figures of each lane alone and of each stage of the fusion, as a table in Markdown."""
    columns = ("hit@1", "recall@5", "mrr@10", "ndcg@10")
    yield f"| | {' | '.join(columns)} |"
    yield "|---|" + "---|" * len(columns)
    rows = [(f"{lane} lane" if lane != "fused" else "**fused**", row) for lane, row in figures["lanes"].items()]
    for name, row in [*rows, *figures["stages"].items()]:
        yield f"| {name} | {' | '.join(f'{row[column]:.3f}'.lstrip('0') for column in columns)} |"


def _table(figures: dict[str, Any], indent: str = "") -> list[str]:
    lines: list[str] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{22 - len(indent)}} {value}")
    return lines


def _progress(done: int, total: int) -> None:
    if done == total or done % 50 == 0:
        click.echo(f"{done} of {total}", err=True)
