"""The studio by plain HTTP, as a browser without scripts uses it, and as the editor's script does."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from flask_cairnloop.actors import Actor
from flask_cairnloop.knowledge import service
from flask_cairnloop.knowledge.models import Article, Revision
from flask_cairnloop.knowledge.rendering import BODY_LIMIT
from flask_cairnloop.testing import run_jobs

WRITER = Actor.system("test")
EVIL = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def other_client(sign_in: Callable[[str], FlaskClient]) -> FlaskClient:
    return sign_in("omar")


def form(title: str = "Hours", body: str = "We open at nine.", **values: Any) -> dict[str, Any]:
    return {"title": title, "body": body, "edits": "0", "audience": "public"} | values


def write(client: FlaskClient, **values: Any) -> int:
    """A new article; its id."""
    answer = client.post("/support/knowledge/new", data=form(**{"slug": f"s-{uuid.uuid4().hex[:8]}"} | values))
    assert answer.status_code == 303, answer.text
    found = re.search(r"/knowledge/(\d+)", answer.location)
    assert found is not None
    return int(found[1])


def edits(client: FlaskClient, article_id: int) -> str:
    page = client.get(f"/support/knowledge/{article_id}/edit").text
    found = re.search(r'name="edits" value="(\d+)"', page)
    assert found is not None
    return found[1]


def publish(client: FlaskClient, article_id: int) -> None:
    answer = client.post(f"/support/knowledge/{article_id}/publish", data={"edits": edits(client, article_id)})
    assert "done=published" in answer.location


def titles(page: str) -> list[str]:
    return [unescape(title) for title in re.findall(r'<b class="b">([^<]*)</b></span>', page)]


# --- the list ---


def test_articles_are_found_by_what_describes_them_and_by_their_words(app: Flask, operator_client: FlaskClient) -> None:
    mark = uuid.uuid4().hex[:8]
    made = {
        "title": write(operator_client, title=f"Pump {mark}"),
        "slug": write(operator_client, slug=f"slug-{mark}-x"),
        "category": write(operator_client, category=f"Cat {mark}"),
        "tag": write(operator_client, tags=f"one, tag{mark}"),
        "draft": write(operator_client, body=f"Only a draft says {mark}."),
        "words": write(operator_client, body=f"Published words say {mark} twice."),
    }
    publish(operator_client, made["words"])
    run_jobs(app)

    def found(**query: str) -> set[int]:
        page = operator_client.get("/support/knowledge", query_string=query).text
        return {int(number) for number in re.findall(r'class="line" href="/support/knowledge/(\d+)"', page)}

    assert found(q=mark) == set(made.values())
    assert found(q=mark, state="published") == {made["words"]}
    assert found(q=f"say {mark} twice", state="published") == {made["words"]}
    assert found(q=mark, category=f"Cat {mark}") == {made["category"]}
    assert found(q=mark, tag=f"tag{mark}") == {made["tag"]}
    assert found(q=mark, audience="internal") == found(q=mark, language="tlh") == set()
    for nonsense in ({"audience": "x"}, {"state": "gone"}, {"category": "\x00"}, {"after": "x"}):
        assert found(q=mark, **nonsense) == set(made.values())
    assert found(q="%") == found(q="_" * 30) == set()  # wildcards are letters like any other


def test_counts_follow_the_filters_and_a_fragment_has_its_own_address(operator_client: FlaskClient) -> None:
    mark = uuid.uuid4().hex[:8]
    first = write(operator_client, tags=mark)
    write(operator_client, tags=mark)
    publish(operator_client, first)
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "section#articles"}
    answer = operator_client.get(f"/support/knowledge?q=&tag={mark}&category=&state=", headers=headers)
    assert re.findall(r'(\w+) <span class="count">(\d+)', answer.text) == [
        ("All", "2"),
        ("Published", "1"),
        ("Drafts", "1"),
        ("Archived", "0"),
    ]
    assert answer.headers["HX-Replace-Url"] == f"/support/knowledge?tag={mark}"
    assert "<html" not in answer.text


def test_searching_asks_no_more_than_eight_questions(operator_client: FlaskClient, queries: Callable[[], Any]) -> None:
    with queries() as seen:
        operator_client.get("/support/knowledge?q=open&category=x&tag=y&language=en&audience=public&state=published")
    assert len(seen) <= 8


# --- writing ---


def test_writing_publishing_and_finding_without_a_script(operator_client: FlaskClient) -> None:
    article_id = write(operator_client, title="Locks", category="Bikes", tags="lock, key", language="en")
    page = operator_client.get(f"/support/knowledge/{article_id}").text
    assert "Not published yet." in page
    changed = form("Locks", "Use *two* locks.", slug="locks", tags="lock", edits=edits(operator_client, article_id))
    answer = operator_client.post(f"/support/knowledge/{article_id}/edit", data=changed | {"then": "publish"})
    assert answer.location.endswith(f"/knowledge/{article_id}?done=published")
    page = operator_client.get(answer.location).text
    assert "Use <em>two</em> locks." in page
    assert "Published. It is found from now on." in page
    assert ">lock</a>" in page
    assert ">key</a>" not in page


def test_what_is_refused_comes_back_as_it_was_typed(operator_client: FlaskClient) -> None:
    article_id = write(operator_client)
    for path in ("new", f"{article_id}/edit"):
        sent = form("", "Words that took an hour.", slug="no slug!", edits=edits(operator_client, article_id))
        answer = operator_client.post(f"/support/knowledge/{path}", data=sent | {"title": "Kept"})
        assert answer.status_code == 422
        assert "Words that took an hour." in answer.text
        assert 'value="Kept"' in answer.text
        assert "A slug has 1 to 200 letters" in answer.text


def test_the_longest_article_goes_through_the_form(operator_client: FlaskClient) -> None:
    body = "é" * BODY_LIMIT
    article_id = write(operator_client, body=body)
    assert operator_client.get(f"/support/knowledge/{article_id}/edit").text.count(body) == 3
    answer = operator_client.post("/support/knowledge/new", data=form(body=f"{body}x"))
    assert answer.status_code == 422


def test_the_script_hears_what_it_needs(operator_client: FlaskClient, other_client: FlaskClient) -> None:
    article_id = write(operator_client)
    path, seen = f"/support/knowledge/{article_id}/edit", edits(operator_client, article_id)
    kept = operator_client.post(path, data=form(body="Mina writes on.", edits=seen, auto="1"))
    assert kept.json is not None
    assert kept.json["edits"] == int(seen) + 1
    assert re.fullmatch(r"\d\d:\d\d", kept.json["at"])
    refused = operator_client.post(path, data=form(title=" ", edits=kept.json["edits"], auto="1"))
    assert (refused.status_code, refused.json and refused.json["field"]) == (422, "title")
    late = other_client.post(path, data=form(body="Omar, too.", edits=seen, auto="1"))
    assert (late.status_code, late.json and late.json["who"]) == (409, "Mina Keller")


def test_two_editors_lose_nothing(app: Flask, operator_client: FlaskClient, other_client: FlaskClient) -> None:
    base = "One.\n\nTwo.\n\nThree."
    article_id = write(operator_client, body=base)
    path, seen = f"/support/knowledge/{article_id}", edits(operator_client, article_id)
    mine = form(body="One by Omar.\r\n\r\nTwo.\r\n\r\nThree.", edits=seen, base=base, tags="omar")
    mine["slug"] = f"s-{uuid.uuid4().hex[:8]}"
    operator_client.post(
        f"{path}/edit", data=form(body="One.\n\nTwo.\n\nThree by Mina.", edits=seen, slug=mine["slug"])
    )
    page = other_client.post(f"{path}/edit", data=mine)
    assert page.status_code == 409
    assert "Mina Keller saved a newer draft" in page.text
    assert "<del>One.</del>" in page.text
    assert "<ins>One by Omar.</ins>" in page.text

    stale = other_client.post(f"{path}/merge", data=mine)  # a third save came between
    assert stale.status_code == 409
    found = re.search(r'name="edits" value="(\d+)"', page.text)
    assert found is not None
    merged = other_client.post(f"{path}/merge", data=mine | {"edits": found[1]})
    assert merged.location.endswith("/edit")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = session.scalars(select(Revision).where(Revision.article_id == article_id)).one()
        assert draft.body == "One by Omar.\n\nTwo.\n\nThree by Mina."
        assert session.get(Article, article_id).tags == ["omar"]


# --- publishing ---


def test_a_time_is_set_in_the_readers_zone_and_taken_back(app: Flask, operator_client: FlaskClient) -> None:
    operator_client.set_cookie("cairnloop_zone", "Asia%2FTokyo", path="/")
    article_id = write(operator_client)
    path, seen = f"/support/knowledge/{article_id}", edits(operator_client, article_id)
    chosen = (datetime.now(UTC) + timedelta(days=3)).replace(hour=9, minute=0, second=0, microsecond=0, tzinfo=None)
    operator_client.post(f"{path}/schedule", data={"at": chosen.isoformat(timespec="minutes"), "edits": seen})
    with app.app_context():
        at = app.extensions["sqlalchemy"].session.get(Article, article_id).publish_at
        assert at == chosen.replace(tzinfo=UTC) - timedelta(hours=9)
    assert "09:00, set by Mina Keller" in operator_client.get(path).text
    for nonsense in ("", "yesterday", "2020-01-01T00:00", "0001-01-01T00:00", "9999-12-31T23:59"):
        refused = operator_client.post(f"{path}/schedule", data={"at": nonsense, "edits": seen})
        assert refused.status_code == 422, nonsense
    operator_client.post(f"{path}/unschedule")
    assert "set by" not in operator_client.get(path).text
    assert operator_client.post(f"{path}/schedule", data={"at": "2999-01-01T00:00", "edits": "0"}).status_code == 409


def test_each_step_is_said_and_a_second_click_is_calm(operator_client: FlaskClient) -> None:
    article_id = write(operator_client)
    path = f"/support/knowledge/{article_id}"
    publish(operator_client, article_id)
    for step, words in (
        ("verify", "Noted: its words are still right."),
        ("archive", "Archived. No draft is answered"),
        ("unarchive", "It is back"),
    ):
        answer = operator_client.post(f"{path}/{step}")
        assert words in operator_client.get(answer.location).text, step
    again = operator_client.post(f"{path}/unarchive")
    assert "That was done already." in operator_client.get(again.location).text
    assert "Verified" in operator_client.get(path).text
    assert 'class="notice done"' not in operator_client.get(f"{path}?done=nonsense").text


def test_who_may_not_publish_is_not_offered_it(make_app: Callable[..., Flask]) -> None:
    from flask_cairnloop import Operator

    scribe = Operator("scribe", "Sia Scribe", permissions=frozenset({"knowledge.read", "knowledge.edit"}))
    app = make_app(OPERATOR_LOADER=lambda: scribe)
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost")
    article_id = write(client)
    page = client.get(f"/support/knowledge/{article_id}").text
    assert "Publish" not in page
    assert "Publish" not in client.get(f"/support/knowledge/{article_id}/edit").text
    assert client.post(f"/support/knowledge/{article_id}/publish").status_code == 403
    sent = form(body="Other words.", edits="1") | {"then": "publish"}
    assert client.post(f"/support/knowledge/{article_id}/edit", data=sent).status_code == 403
    with app.app_context():
        article = app.extensions["sqlalchemy"].session.get(Article, article_id)
        assert (article.state.value, article.edits) == ("draft", 1)


# --- history and links ---


def test_versions_are_compared_word_by_word_and_an_old_one_comes_back(operator_client: FlaskClient) -> None:
    article_id = write(operator_client, body="The link works for 30 minutes.")
    publish(operator_client, article_id)
    path = f"/support/knowledge/{article_id}"
    sent = form(body="The link works for an hour.", edits=edits(operator_client, article_id))
    operator_client.post(f"{path}/edit", data=sent)
    publish(operator_client, article_id)
    page = operator_client.get(f"{path}/history").text
    assert "<del>30 minutes.</del>" in page
    assert "<ins>an hour.</ins>" in page
    assert "1 paragraph changed." in page
    answer = operator_client.post(f"{path}/history/1/restore", data={"edits": edits(operator_client, article_id)})
    assert "done=restored" in answer.location
    assert "The link works for 30 minutes." in operator_client.get(f"{path}/edit").text
    for query in ("?to=99", "?to=x&from=y", "?from=3&to=1", "?before=1", "?to=999999999999999999"):
        assert operator_client.get(f"{path}/history{query}").status_code == 200
    assert operator_client.get("/support/knowledge/999999/history").status_code == 404


def test_links_that_lead_nowhere_are_told_and_those_by_slug_work(operator_client: FlaskClient) -> None:
    there = write(operator_client, title="There", slug=f"faq-{uuid.uuid4().hex[:6]}")
    publish(operator_client, there)
    hidden = write(operator_client)
    slug = re.search(r'name="slug" value="([^"]*)"', operator_client.get(f"/support/knowledge/{there}/edit").text)
    assert slug is not None
    body = (
        f"## By hand\n\n[a]({slug[1]}.md) [b](../{slug[1]}#by-hand) [c](/support/knowledge/{there}) [d](#by-hand)"
        " [web](https://example.com/x) [host](/prices) [mail](mailto:a@b.example)\n\n"
        f'[nowhere](gone.md) [draft](/support/knowledge/{hidden}) [no heading](#gone) [evil]("><b>)'
    )
    article_id = write(operator_client, body=body)
    page = operator_client.get(f"/support/knowledge/{article_id}").text
    assert "4 links lead nowhere" in page
    assert page.count("There is no such article.") == 2
    for told in ("That article was never published.", "This article has no such heading."):
        assert page.count(told) == 1
    assert page.count(f'href="/support/knowledge/{there}"') == 2
    assert f'href="/support/knowledge/{there}#section-by-hand"' in page
    assert 'href="#section-by-hand"' in page


# --- hostile words ---


def test_hostile_words_stay_words_on_every_page(operator_client: FlaskClient, other_client: FlaskClient) -> None:
    values = {"title": f"T{EVIL}", "category": f"C{EVIL}", "tags": f"t{EVIL}", "language": EVIL[:35]}
    article_id = write(operator_client, **values, body=f"B{EVIL}\n\n[x](javascript:alert(3)) <b onclick=alert(4)>y</b>")
    path, seen = f"/support/knowledge/{article_id}", edits(operator_client, article_id)
    publish(operator_client, article_id)
    operator_client.post(f"{path}/edit", data=form(body=f"B2{EVIL}", edits=seen, **{**values, "title": f"T2{EVIL}"}))
    pages = [
        operator_client.get("/support/knowledge", query_string={"q": EVIL, "category": EVIL, "tag": EVIL}),
        operator_client.get("/support/knowledge"),
        *(operator_client.get(f"{path}{end}") for end in ("", "/edit", "/history", "/history?from=1&to=2")),
        operator_client.post("/support/knowledge/preview", data={"body": f"{EVIL}\n\n[x](javascript:alert(3))"}),
        other_client.post(f"{path}/edit", data=form(body=f"B3{EVIL}", edits="0", base=EVIL, slug=EVIL, title=EVIL)),
        operator_client.post("/support/knowledge/new", data=form(slug=EVIL, title=EVIL, category=EVIL, body=EVIL)),
    ]
    assert [page.status_code for page in pages] == [200] * 7 + [409, 422]
    for page in pages:
        bare = re.sub(r'"[^"]*"', '""', page.text)  # what stands in attributes is text
        assert "<img" not in bare
        assert "alert(2)</script" not in page.text
        assert "onerror=alert(1)>" not in page.text
        assert 'href="javascript' not in page.text
    assert operator_client.post("/support/knowledge/new", data=form(title="a\x00b")).status_code == 422


def test_the_editor_leaves_room_for_a_first_empty_line(app: Flask, operator_client: FlaskClient) -> None:
    """A browser drops the first line end of a text field: a text that begins with one must not change by opening it."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        made = service.save_article(session, slug=f"s-{uuid.uuid4().hex[:8]}", title="T", body="    code", actor=WRITER)
        session.commit()
        article_id = made.id
    page = operator_client.get(f"/support/knowledge/{article_id}/edit").text
    assert re.search(r'name="body"[^>]*>\ncode</textarea>', page)
