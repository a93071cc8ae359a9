"""``flask cairnloop audit``: whether the audit log is what it was."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.audit import sealing
from flask_cairnloop.audit.sealing import Head, Verified
from flask_cairnloop.context import current

audit = AppGroup("audit", help="Whether the audit log is what it was.")


class HeadType(click.ParamType[Head]):
    """A place in the chain and its digest, as an earlier ``verify`` said it."""

    name = "POSITION:DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        try:
            return Head.parse(str(value))
        except ValueError:
            self.fail("Give a position and a digest, as verify says them: 1200:9f3c…", param, ctx)


@audit.command("verify")
@click.option("--expect", type=HeadType(), help="A head kept from an earlier time: the chain has to lead through it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_appcontext
def verify_command(expect: Head | None, as_json: bool) -> None:
    """Compute the chain anew over every entry, and name the first row that was changed, removed or swapped.

    Ends with 1 if there is one. Keep the head it says somewhere else, and give it to --expect the next time: a
    superuser of the database could make the whole chain anew, but not so that it leads through a head you have kept.
    """
    progress = sys.stderr.isatty()

    def told(links: int) -> None:
        if progress:
            click.echo(f"\r{links:,} entries", nl=False, err=True)

    with Session(current().engine) as session:
        found = sealing.verify(session, expected=expect, told=told)
    if progress:
        click.echo("\r", nl=False, err=True)
    click.echo(json.dumps(_plain(found), indent=2) if as_json else _said(found))
    if found.fault is not None:
        raise SystemExit(1)


def _said(found: Verified) -> str:
    lines = [f"Entries verified       {found.links:,}"]
    if found.start.position:
        lines.append(f"Cut by retention       up to {found.start.position:,}")
    lines.append(f"Reasons erased         {found.erased:,}")
    lines.append(f"Not yet sealed         {found.unsealed:,}")
    lines.append(f"Head                   {found.head}")
    if found.fault is None:
        return "\n".join([*lines, "The log is what it was."])
    where = [f"position {found.fault.position}"] if found.fault.position is not None else []
    where += [f"entry {found.fault.entry_id}"] if found.fault.entry_id is not None else []
    return "\n".join([*lines, f"Not what it was: {', '.join(where)}: {found.fault.meaning}."])


def _plain(found: Verified) -> dict[str, Any]:
    fault = found.fault
    return {
        "verified": found.links,
        "cut_up_to": found.start.position,
        "reasons_erased": found.erased,
        "unsealed": found.unsealed,
        "head": str(found.head),
        "fault": fault and {"position": fault.position, "entry_id": fault.entry_id, "meaning": fault.meaning},
    }
