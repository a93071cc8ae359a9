"""Where articles are written: the editor, publishing now or at a time, and how the words became what they are."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, jsonify, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, may, operator, reading, requires, visible
from flask_cairnloop.console.files import FORM_OVERHEAD, markdown_of, take
from flask_cairnloop.console.knowledge import ARTICLE, anchored, show_article
from flask_cairnloop.console.rendering import page, times
from flask_cairnloop.context import current
from flask_cairnloop.errors import (
    Conflict,
    Forbidden,
    IllegalTransition,
    InvalidInput,
    NoStorage,
    NotFound,
    StaleArticle,
    StorageUnavailable,
)
from flask_cairnloop.files.content import accepted
from flask_cairnloop.files.service import too_long
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.hooks import Permission
from flask_cairnloop.knowledge import merging, queries, service
from flask_cairnloop.knowledge.models import Article, Audience, Revision
from flask_cairnloop.knowledge.rendering import BODY_LIMIT, render_with_files
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.wording import changes, rows

# What a form may bring: an article and the text it began with, each character as up to twelve of a form.
FORM_BYTES = 2 * 12 * BODY_LIMIT + 100_000
EDITING = frozenset({"new_article", "edit_article", "merge_article", "preview_article", "edit_review"})
NUMBER = "<int(max=9223372036854775807):number>"


def register(blueprint: Blueprint) -> None:
    def add(path: str, endpoint: str, view: Any, *methods: str) -> None:
        blueprint.add_url_rule(path, endpoint, view, methods=methods or ["POST"])

    blueprint.url_value_preprocessor(_let_long_forms_in)
    add("/knowledge/new", "new_article", new_article, "GET", "POST")
    add("/knowledge/preview", "preview_article", preview_article)
    add(f"/knowledge/{ARTICLE}/edit", "edit_article", edit_article, "GET", "POST")
    add(f"/knowledge/{ARTICLE}/merge", "merge_article", merge_article)
    add(f"/knowledge/{ARTICLE}/discard", "discard_article", discard_article)
    add(f"/knowledge/{ARTICLE}/verify", "verify_article", verify_article)
    add(f"/knowledge/{ARTICLE}/publish", "publish_article", publish_article)
    add(f"/knowledge/{ARTICLE}/schedule", "schedule_article", schedule_article)
    add(f"/knowledge/{ARTICLE}/unschedule", "unschedule_article", unschedule_article)
    add(f"/knowledge/{ARTICLE}/archive", "archive_article", archive_article)
    add(f"/knowledge/{ARTICLE}/unarchive", "unarchive_article", unarchive_article)
    add(f"/knowledge/{ARTICLE}/history", "article_history", article_history, "GET")
    add(f"/knowledge/{ARTICLE}/history/{NUMBER}/restore", "restore_article", restore_article)


def _let_long_forms_in(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Before the host looks for its token in the form: Flask's own limit is below the longest article."""
    if (endpoint or "").removeprefix("cairnloop.") in EDITING:
        request.max_form_memory_size = max(FORM_BYTES, request.max_form_memory_size or 0)
        # The host's may be below the longest file; without one, whatever is sent would be read before it is refused.
        request.max_content_length = FORM_BYTES + current().settings.file_size_limit + FORM_OVERHEAD


# --- writing ----------------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_PUBLISH)
def new_article() -> Response:
    """An empty editor; what is sent from it begins an article."""
    if request.method != "POST":
        return _editor(None, Words("", "", ""))
    session, words = current().session(), form_words()
    try:
        words = _with_upload(words)
        article = service.create_article(session, words, actor=actor())
        return _kept(session, article)
    except InvalidInput as refused:
        session.rollback()
        return _refused(None, words, refused)


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_PUBLISH)
def edit_article(article_id: int) -> Response:
    """The editor with an article's draft in it, or with what is published; what is sent from it is kept."""
    if request.method == "POST":
        return _save(article_id)
    with reading() as session:
        article, newest, published = queries.article_to_edit(session, article_id)
    return _editor(article, _words_of(article, newest), newest, published)


def _save(article_id: int) -> Response:
    """Keep what was written. Refused, with both versions shown, where somebody else has saved meanwhile."""
    session, words = current().session(), form_words()
    try:
        words = _with_upload(words)
        article = service.edit_article(session, article_id, words, edits=form_edits(), actor=actor())
        return _kept(session, article)
    except StaleArticle:
        return _collided(session, article_id, words)
    except InvalidInput as refused:
        session.rollback()
        return _refused(article_id, words, refused)


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_PUBLISH)
def merge_article(article_id: int) -> Response:
    """Keep what was chosen of two versions. Where a third has come meanwhile, one is asked again."""
    session, mine = current().session(), form_words()
    article, newest, _ = queries.article_to_edit(session, article_id)
    theirs = _words_of(article, newest)
    if article.edits != form_edits():
        return _collided(session, article_id, mine)
    found = merging.pieces(form_text("base"), theirs.body, mine.body)
    words = merging.merged(found, theirs, mine, request.form)
    try:
        article = service.edit_article(session, article_id, words, edits=article.edits, actor=actor())
        return _kept(session, article)
    except StaleArticle:
        return _collided(session, article_id, mine)
    except InvalidInput as refused:
        session.rollback()
        return _refused(article_id, words, refused)


@requires(Permission.KNOWLEDGE_EDIT)
def preview_article() -> Response:
    """What a text will look like."""
    with reading() as session:
        body = render_with_files(session, form_text("body"))
    return page("_preview.html", body=anchored(body))


@requires(Permission.KNOWLEDGE_EDIT)
def discard_article(article_id: int) -> Response:
    """Throw a draft away; what was never published is gone with it."""
    session = current().session()
    try:
        stays = service.discard_draft(session, article_id, edits=form_edits(), actor=actor())
        session.commit()
    except Conflict as conflict:
        return _not_done(session, article_id, conflict)
    return _to(article_id, "discarded") if stays else redirect(url_for("cairnloop.knowledge"), code=303)


@requires(Permission.KNOWLEDGE_EDIT)
def verify_article(article_id: int) -> Response:
    """Note that the published words are still right."""
    return _step(article_id, "verified", lambda session: service.verify(session, article_id, actor=actor()))


# --- publishing -------------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_PUBLISH)
def publish_article(article_id: int) -> Response:
    """Publish the draft, as it was on the page."""
    return _step(
        article_id,
        "published",
        lambda session: service.publish(session, article_id, actor=actor(), edits=form_edits()),
    )


@requires(Permission.KNOWLEDGE_PUBLISH)
def schedule_article(article_id: int) -> Response:
    """Have the draft published at a time."""
    return _step(
        article_id,
        "scheduled",
        lambda session: service.schedule(session, article_id, _moment(), edits=form_edits(), actor=actor()),
    )


@requires(Permission.KNOWLEDGE_PUBLISH)
def unschedule_article(article_id: int) -> Response:
    """Take the time back."""
    return _step(article_id, "unscheduled", lambda session: service.unschedule(session, article_id, actor=actor()))


@requires(Permission.KNOWLEDGE_PUBLISH)
def archive_article(article_id: int) -> Response:
    """Take an article out of search."""
    return _step(article_id, "archived", lambda session: service.archive(session, article_id, actor=actor()))


@requires(Permission.KNOWLEDGE_PUBLISH)
def unarchive_article(article_id: int) -> Response:
    """Bring it back."""
    return _step(article_id, "unarchived", lambda session: service.unarchive(session, article_id, actor=actor()))


# --- history ----------------------------------------------------------------------------------------------------------


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
def article_history(article_id: int) -> Response:
    """An article's versions, and what differs between two of them."""
    before = whole_number(request.args.get("before"))
    with reading() as session:
        article, revisions, more = queries.history(session, article_id, before=before)
        newest = revisions[0].number if revisions else 0
        to = whole_number(request.args.get("to")) or newest
        since = whole_number(request.args.get("from"))
        if since is None:
            since = next((each.number for each in revisions if each.number < to), 0)
        texts = queries.bodies(session, article_id, {since, to})
    if not revisions and before is None:
        raise NotFound("There is no such article.")
    old, new = texts.get(since), texts.get(to)
    compared = rows(old.body if old else "", new.body) if new else []
    return page(
        "history.html",
        article=article,
        revisions=revisions,
        more=revisions[-1].number if more else None,
        old=old,
        new=new,
        compared=compared,
        parts=presenters.stretches(compared, lambda row: row.kind != "same"),
        titles=changes(old.title, new.title) if old and new and old.title != new.title else (),
    )


@requires(Permission.KNOWLEDGE_EDIT)
def restore_article(article_id: int, number: int) -> Response:
    """Make an older version the draft."""
    return _step(
        article_id,
        "restored",
        lambda session: service.restore_revision(session, article_id, number, edits=form_edits(), actor=actor()),
    )


# --- shared -----------------------------------------------------------------------------------------------------------


def _editor(
    article: Article | None,
    words: Words,
    newest: Revision | None = None,
    published: Revision | None = None,
    *,
    status: int = 200,
    refused: InvalidInput | None = None,
    base: str | None = None,
) -> Response:
    with reading() as session:
        choices = queries.choices(session)
        preview = render_with_files(session, words.body)
        used = queries.files_of(session, article.id) if article else []
        uses = queries.uses(session, [file.id for file in used])
    article_id = article.id if article else 0
    saved = refused is None and newest is not None and newest is not published
    address = url_for("cairnloop.edit_article", article_id=article_id) if article else url_for("cairnloop.new_article")
    return page(
        "editor.html",
        status,
        action=address,
        back=url_for("cairnloop.article", article_id=article_id) if article else url_for("cairnloop.knowledge"),
        heading="Edit article" if article else "New article",
        edits=article.edits if article else 0,
        stored=_stored(newest, saved=saved, refused=refused is not None),
        describes=True,
        publishes=may(Permission.KNOWLEDGE_PUBLISH),
        uploads=True,
        article=article,
        words=words,
        choices=choices,
        refused=refused,
        base=words.body if base is None else base,
        limit=BODY_LIMIT,
        preview=anchored(preview),
        files=[(file, _others(uses.get(file.id, []), article_id)) for file in used],
        storage=storage_of(current()) is not None,
        accept=accepted(current().settings.file_types),
        file_limit=too_long(current().settings).message,
    )


def _stored(newest: Revision | None, *, saved: bool, refused: bool) -> str:
    """What of the words is kept."""
    if refused:
        return "Not saved"
    if newest is None:
        return "Not saved yet"
    if not saved:
        return f"Nothing changed since version {newest.number} was published"
    whose = f" by {newest.author_name}" if newest.author_name != operator().name else ""
    return f"Saved {times().at(newest.created_at)}{whose}"


def _with_upload(words: Words) -> Words:
    """The words, at their end the file that a form without a script brought along.

    Raises:
        InvalidInput: it cannot be taken, or not just now.
    """
    if request.form.get("then") != "upload":
        return words
    try:
        shown = markdown_of(take())
    except (NoStorage, StorageUnavailable) as trouble:
        raise InvalidInput("file", str(trouble)) from trouble
    return replace(words, body=f"{words.body.rstrip()}\n\n{shown}".lstrip())


def _others(uses: list[queries.Use], article_id: int) -> list[queries.Use]:
    """The other articles that use a file, those that the operator may open."""
    others = [use for use in uses if use.article_id != article_id]
    return list(visible(others, Permission.KNOWLEDGE_READ, "article", lambda use: use.article_id))


def _kept(session: Session, article: Article) -> Response:
    """What was written is the draft; on the way to the page it is committed, and published if that was asked for."""
    article_id, edits = article.id, article.edits
    if request.form.get("then") == "publish":
        if not may(Permission.KNOWLEDGE_PUBLISH):
            raise Forbidden
        with suppress(IllegalTransition):  # only what describes it is new, and that counts from now on as it is
            service.publish(session, article_id, actor=actor())
        session.commit()
        return _to(article_id, "published")
    session.commit()
    address = url_for("cairnloop.edit_article", article_id=article_id)
    if is_alone():
        return jsonify(edits=edits, at=times().clock(datetime.now(UTC)), address=address)
    return redirect(address, code=303)


def _refused(article_id: int | None, words: Words, refused: InvalidInput) -> Response:
    """Nothing was kept: what was typed, and what is wrong with it."""
    if is_alone():
        return told(422, field=refused.field, message=refused.message)
    if article_id is None:
        return _editor(None, words, status=422, refused=refused)
    with reading() as session:
        article, newest, published = queries.article_to_edit(session, article_id)
    if article.edits != form_edits():  # whoever corrects it would save over what they have not seen
        return _merge_page(article, newest, words)
    return _editor(article, words, newest, published, status=422, refused=refused, base=form_text("base"))


def _collided(session: Session, article_id: int, mine: Words) -> Response:
    """Nothing was kept: somebody else's newer words beside these."""
    session.rollback()
    with reading() as read:
        article, newest, _ = queries.article_to_edit(read, article_id)
    if is_alone():
        return told(409, who=newest.author_name, at=times().when(article.updated_at))
    return _merge_page(article, newest, mine)


def _merge_page(article: Article, newest: Revision, mine: Words) -> Response:
    theirs = _words_of(article, newest)
    found = list(enumerate(merging.pieces(form_text("base"), theirs.body, mine.body)))
    return page(
        "merge.html",
        409,
        action=url_for("cairnloop.merge_article", article_id=article.id),
        leave=url_for("cairnloop.edit_article", article_id=article.id),
        title=newest.title,
        them=newest.author_name,
        changed_at=article.updated_at,
        theirs_at=times().at(newest.created_at),
        edits=article.edits,
        mine=mine,
        base=form_text("base"),
        parts=presenters.stretches(found, lambda pair: pair[1].row.kind != "same"),
        differences=merging.differences(theirs, mine),
        Side=merging.Side,
    )


def _step(article_id: int, done: str, step: Callable[[Session], object]) -> Response:
    """Take a step and go to the article's page, which says so; or stay there and say why not."""
    session = current().session()
    try:
        step(session)
        session.commit()
    except Conflict as conflict:
        return _not_done(session, article_id, conflict)
    except InvalidInput as refused:
        session.rollback()
        return show_article(article_id, status=422, trouble=refused.message)
    return _to(article_id, done)


def _not_done(session: Session, article_id: int, conflict: Conflict) -> Response:
    """Somebody else was faster, or the same click came twice: the page says what is true now."""
    session.rollback()
    if isinstance(conflict, IllegalTransition):
        return _to(article_id, "already")
    return show_article(article_id, status=409, trouble=f"Nothing was done. {conflict}")


def _to(article_id: int, done: str) -> Response:
    return redirect(url_for("cairnloop.article", article_id=article_id, done=done), code=303)


def form_words() -> Words:
    """What the form says of an article, as it was typed."""
    audience = request.form.get("audience", "")
    return Words(
        slug=form_text("slug"),
        title=form_text("title"),
        body=form_text("body"),
        category=form_text("category") or None,
        tags=tuple(tag.strip() for tag in form_text("tags").split(",") if tag.strip()),
        audience=Audience(audience) if audience in set(Audience) else Audience.PUBLIC,
        language=form_text("language") or None,
    )


def _words_of(article: Article, revision: Revision) -> Words:
    return Words(
        article.slug,
        revision.title,
        revision.body,
        article.category,
        tuple(article.tags),
        article.audience,
        article.language,
    )


def form_text(name: str) -> str:
    return request.form.get(name, "").replace("\r\n", "\n")


def form_edits() -> int:
    """How often the article had been changed when the form was made; never, where the form does not say."""
    return whole_number(request.form.get("edits")) or 0


def whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 18 else None


def _moment() -> datetime:
    """The time that was chosen, which stands in the form as the reader's own clock has it."""
    try:
        chosen = datetime.fromisoformat(request.form.get("at", ""))
        local = chosen if chosen.tzinfo else chosen.replace(tzinfo=times().zone)
        return local.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("at", "Choose a day and a time.") from error


def is_alone() -> bool:
    """Whether the page's script asks, which stays on its page."""
    return request.form.get("auto") == "1"


def told(status: int, **values: Any) -> Response:
    answer = jsonify(**values)
    answer.status_code = status
    return answer
