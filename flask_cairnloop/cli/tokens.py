"""``flask cairnloop tokens``: keys for machines that ask the desk through the MCP endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from flask.cli import AppGroup, with_appcontext
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.errors import CairnloopError, InvalidInput
from flask_cairnloop.tokens import service
from flask_cairnloop.tokens.models import AccessToken

ACTOR = Actor.system("cli")
DAYS = 90
MAX_ID = 2**63 - 1

T = TypeVar("T")

tokens = AppGroup("tokens", help="Keys for machines that ask the desk through the MCP endpoint.")


@tokens.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help=f"What it may: {', '.join(service.SCOPES)}, or what a tool asks for. Default: all of the desk's own.",
)
@click.option("--tool", "tools", multiple=True, help="The only tools it may use. Default: all that its scopes allow.")
@click.option("--conversation", type=click.IntRange(1, MAX_ID), help="Bind it to one conversation.")
@click.option("--customer", help="Bind it to the conversations of the customer with this reference.")
@click.option("--days", type=click.IntRange(1, 3650), default=DAYS, show_default=True, help="How long it works.")
@click.option("--no-expiry", is_flag=True, help="It works until it is revoked.")
@click.option("--rate", default=service.DEFAULT_RATE, show_default=True, help='How often it may ask; "none": no limit.')
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_appcontext
def create_token(
    name: str,
    scopes: tuple[str, ...],
    tools: tuple[str, ...],
    conversation: int | None,
    customer: str | None,
    days: int,
    no_expiry: bool,
    rate: str,
    as_json: bool,
) -> None:
    """Make a token and print it. It is shown this once."""
    token, raw = _done(
        lambda session: service.create(
            session,
            name,
            actor=ACTOR,
            scopes=scopes or service.SCOPES,
            tools=tools or None,
            conversation_id=conversation,
            customer_ref=customer,
            expires_at=None if no_expiry else now() + timedelta(days=days),
            rate=None if rate == "none" else rate,
        )
    )
    if as_json:
        click.echo(json.dumps({**_plain(token, customer), "token": raw}, indent=2))
        return
    click.echo(raw)
    ends = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "until it is revoked"
    click.echo(f"Token {token.id}, “{token.name}”, works {ends}. It is not shown again.", err=True)


@tokens.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@with_appcontext
def list_tokens(as_json: bool) -> None:
    """List tokens: those that work first, the newest first."""
    found = service.tokens(current().session())
    if as_json:
        click.echo(json.dumps([_plain(*row) for row in found], indent=2))
        return
    for token, _ in found:
        used = f"used {token.last_used_at:%Y-%m-%d}" if token.last_used_at else "never used"
        click.echo(f"{token.id:>6}  {service.state(token):<8} {used:<16} {token.name}  {', '.join(token.scopes)}")
    if not found:
        click.echo("No tokens.")


@tokens.command("revoke")
@click.argument("token_id", type=click.IntRange(1, MAX_ID))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@with_appcontext
def revoke_token(token_id: int, as_json: bool) -> None:
    """End a token at once. What it asked for and what has not run is taken back."""
    token = _done(lambda session: service.revoke(session, token_id, actor=ACTOR))
    click.echo(json.dumps(_plain(token, None)) if as_json else f"Token {token.id}, “{token.name}”, is revoked.")


def _done(work: Callable[[Session], T]) -> T:
    session: Session = current().session()
    try:
        result = work(session)
        session.commit()
        return result
    except CairnloopError as error:
        session.rollback()
        words = f"{error.field}: {error.message}" if isinstance(error, InvalidInput) else str(error)
        raise click.ClickException(words) from error


def _plain(token: AccessToken, customer: str | None) -> dict[str, Any]:
    def instant(moment: Any) -> str | None:
        return moment.isoformat() if moment else None

    return {
        "id": token.id,
        "name": token.name,
        "state": service.state(token),
        "scopes": token.scopes,
        "tools": token.tools,
        "conversation": token.conversation_id,
        "customer": customer,
        "rate": token.rate,
        "created_by": token.created_by_name,
        "created_at": instant(token.created_at),
        "expires_at": instant(token.expires_at),
        "last_used_at": instant(token.last_used_at),
        "revoked_at": instant(token.revoked_at),
    }
