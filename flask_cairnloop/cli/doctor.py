"""``flask cairnloop doctor``: what is wrong with this install, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from flask_cairnloop.context import current
from flask_cairnloop.operations.checks import Finding, Level, examine

MARKS = {Level.OK: "ok      ", Level.WARNING: "warning ", Level.ERROR: "ERROR   "}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--strict", is_flag=True, help="End with 1 for warnings too.")
@with_appcontext
def doctor(as_json: bool, strict: bool) -> None:
    """Ask database, Redis, workers, index and hooks whether they are well.

    Ends with 0 when nothing is wrong, with 1 when something is an error (with --strict: or a warning).
    """
    findings = examine(current())
    errors = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    failed = bool(errors or (strict and warnings))
    if as_json:
        click.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            click.echo(_line(finding))
        click.echo(f"{len(findings) - errors - warnings} ok, {warnings} to look at, {errors} wrong.")
    if failed:
        raise click.exceptions.Exit(1)


def _line(finding: Finding) -> str:
    fix = f"\n          {finding.fix}" if finding.fix else ""
    return f"{MARKS[finding.level]}  {finding.message}{fix}"
