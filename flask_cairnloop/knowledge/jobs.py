"""Publishing at a set time, as durable work."""

from __future__ import annotations

from datetime import datetime

from flask_cairnloop.actors import Actor
from flask_cairnloop.jobs import JobContext, job
from flask_cairnloop.knowledge import service
from flask_cairnloop.knowledge.models import Article


def _note_dead(context: JobContext, article_id: int, at: str) -> None:
    article = context.session.get(Article, article_id, with_for_update=True, populate_existing=True)
    if article is None or article.publish_at != datetime.fromisoformat(at):
        return
    # The words of an exception may be anybody's; its class is ours to show.
    kind = (context.error or "").partition(":")[0]
    reason = f"Publishing failed ({kind})." if kind.isidentifier() else "Publishing was given up."
    if context.actor is not None:
        reason = f"{context.actor.name} discarded the job."
    service.not_published(context.session, article, reason, actor=_actor())


@job(service.PUBLISH, on_dead=_note_dead)
def publish(context: JobContext, article_id: int, at: str) -> None:
    """Publish the draft that was decided on for this time, unless that was taken back."""
    service.publish_scheduled(context.session, article_id, datetime.fromisoformat(at), actor=_actor())


def _actor() -> Actor:
    return Actor.system(service.PUBLISH)
