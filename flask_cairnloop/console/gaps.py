"""Questions that no published article answered: what to write next."""

from __future__ import annotations

from typing import Final

from flask import Blueprint
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import may_open, reading, requires
from flask_cairnloop.console.rendering import page
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.upkeep import queries
from flask_cairnloop.upkeep.models import GapReason, GapSource

SOURCES: Final = {
    GapSource.PALETTE: "by your team",
    GapSource.HELP_SEARCH: "in the help centre",
    GapSource.HELP_VOTE: "by visitors whom an article did not help",
}
REASONS: Final = {
    GapReason.NOTHING_FOUND: "No article was found",
    GapReason.CASES_ONLY: "Only past cases were found",
    GapReason.NOT_COVERED: "The articles that came near do not answer it",
    GapReason.NOT_HELPFUL: "An article was found, and did not help",
}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge/gaps", "gaps", gaps)


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
def gaps() -> Response:
    """The questions of late, most asked first."""
    with reading() as session:
        found = queries.gaps(session)
    shown = {
        gap.conversation_id
        for gap in found
        if gap.conversation_id is not None
        and may_open(Permission.CONVERSATIONS_READ, Subject("conversation", gap.conversation_id))
    }
    return page("gaps.html", gaps=found, shown=shown, sources=SOURCES, reasons=REASONS)
