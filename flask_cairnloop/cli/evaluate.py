"""``flask cairnloop eval``: measures search and grounding on labelled data, in a scratch schema."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.errors import CairnloopError
from flask_cairnloop.retrieval import evaluation
from flask_cairnloop.retrieval.scratch import scratch_session

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group("eval")
def evaluate() -> None:
    """Measure search and grounding. The app's own data is not touched."""


@evaluate.command("retrieval")
@click.argument("folder", metavar="DIR", type=FOLDER)
@as_json_option
@with_appcontext
def retrieval_command(folder: Path, as_json: bool) -> None:
    """Search a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv) for each of its judged questions."""
    _run(lambda session: evaluation.evaluate_retrieval(session, folder, _progress), as_json)


@evaluate.command("grounding")
@click.argument("file", metavar="FILE", type=FILE)
@click.option("--kb", "folder", required=True, metavar="DIR", type=FOLDER, help="Folder with corpus.jsonl.")
@as_json_option
@with_appcontext
def grounding_command(file: Path, folder: Path, as_json: bool) -> None:
    """Decide for each line {"query", "answerable"} whether the documents of --kb cover it."""
    _run(lambda session: evaluation.evaluate_grounding(session, file, folder, _progress), as_json)


def _run(measure: Callable[[Session], dict[str, Any]], as_json: bool) -> None:
    # A plain SIGTERM would end the process before the scratch schema is dropped.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with scratch_session() as session:
            figures = measure(session)
    except CairnloopError as fault:
        raise click.ClickException(str(fault)) from fault
    finally:
        signal.signal(signal.SIGTERM, before)
    click.echo(json.dumps(figures) if as_json else "\n".join(_table(figures)))


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
