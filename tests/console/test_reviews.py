"""Suggested articles on their pages: listed, shown beside what they rest on, decided on, brought together, edited."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flask_cairnloop import Actor, Subject
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.upkeep import suggestions
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionState
from flask_cairnloop.upkeep.writing import Source, SourceKind
from tests.console.conftest import Desk
from tests.support.host import OPERATORS
from tests.support.suggestions import BODY

PAGE = "/support/knowledge/reviews"
OMAR = Actor.operator(OPERATORS["omar"])
TEXT = "Ferrets may ride.\n\nBring a basket.\n\nIt costs nothing."
CHANGED = TEXT.replace("Bring a basket.", "Bring a basket with a lid.")


def version(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found is not None
    return found[1]


def article(at_the_desk: Callable[..., Any], slug: str, body: str = TEXT) -> int:
    def make(session: Any) -> int:
        made = knowledge.create_article(session, Words(slug, "Ferrets", body), actor=Actor.system("test"))
        knowledge.publish(session, made.id, actor=Actor.system("test"))
        return made.id

    number: int = at_the_desk(make)
    return number


def state(at_the_desk: Callable[..., Any], number: int) -> SuggestionState:
    found: SuggestionState = at_the_desk(lambda session: session.get(ArticleSuggestion, number).state)
    return found


@pytest.fixture
def revision(desk: Desk, at_the_desk: Callable[..., Any]) -> tuple[int, int]:
    """A change of a published article that waits for a review, and the article."""
    number = article(at_the_desk, f"ferrets-{desk.gap()}")
    return desk.suggestion(article_id=number, title="Ferrets", body=CHANGED), number


def publish_anew(at_the_desk: Callable[..., Any], article_id: int, body: str, *, draft: bool = False) -> None:
    def change(session: Any) -> None:
        found = session.get(knowledge.Article, article_id)
        words = Words(found.slug, "Ferrets", body)
        knowledge.edit_article(session, article_id, words, edits=found.edits, actor=OMAR)
        if not draft:
            knowledge.publish(session, article_id, actor=OMAR)

    at_the_desk(change)


def test_suggestions_are_listed_by_state_and_home_counts_those_that_wait(
    desk: Desk, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    before = at_the_desk(
        lambda session: session.scalar(
            text(
                "SELECT count(*) FROM cairnloop.article_suggestions"
                " WHERE state IN ('pending', 'stale', 'conflict', 'failed')"
            )
        )
    )
    waits, rejected = desk.suggestion(), desk.suggestion(state="rejected")
    page = operator_client.get(PAGE).get_data(as_text=True)
    assert f'href="{PAGE}/{waits}?state=review"' in page
    assert f'href="{PAGE}/{rejected}?' not in page
    assert "New article, asked 1 time, asked for by Mina Keller" in page
    assert f'href="{PAGE}/{rejected}?state=rejected"' in operator_client.get(f"{PAGE}?state=rejected").get_data(
        as_text=True
    )
    home = operator_client.get("/support/").get_data(as_text=True)
    assert re.search(rf'href="{PAGE}"[^>]*><b>{before + 1}</b><span>Reviews waiting', home)
    tab = operator_client.get("/support/knowledge").get_data(as_text=True)
    assert f'href="{PAGE}">Reviews <span class="count">{before + 1}</span>' in tab
    assert operator_client.get(f"{PAGE}?state=nonsense&after=x").status_code == 200


def test_a_list_goes_on_page_by_page_and_shows_only_mine_where_asked(
    desk: Desk, operator_client: FlaskClient, at_the_desk: Callable[..., Any], queries: Callable[[], Any]
) -> None:
    mine = desk.suggestion()
    operator_client.post(f"{PAGE}/{mine}/assign", data={"to": "me"})
    at_the_desk(
        lambda session: session.execute(
            text(
                "INSERT INTO cairnloop.article_suggestions (kind, state, title, body, audience, tags, digest, sources,"
                " claims, summary, version, authors, requested_by, requested_by_name, asked, answered_before,"
                " answered_after, created_at, updated_at) SELECT 'article', 'pending', 'Many ' || n, 'x', 'public',"
                " '{}', '', '[]', '{}', '', 1, '{}', 'mina', 'Mina', 0, 0, 0, now(), now() + interval '1 minute'"
                " FROM generate_series(1, 31) AS n"
            )
        )
    )
    with queries() as asked_for:
        page = operator_client.get(PAGE).get_data(as_text=True)
    assert len(asked_for) <= 9
    first = re.findall(r">(Many \d+)<", page)
    following = re.search(r'class="more"><a class="btn" href="([^"]+)"', page)
    assert following is not None
    second = operator_client.get(following[1].replace("&amp;", "&")).get_data(as_text=True)
    assert len(set(first) | set(re.findall(r">(Many \d+)<", second))) == 31
    only = operator_client.get(f"{PAGE}?mine=1").get_data(as_text=True)
    assert re.findall(rf'data-row-link href="{PAGE}/(\d+)\?', only) == [str(mine)]
    at_the_desk(
        lambda session: session.execute(text("DELETE FROM cairnloop.article_suggestions WHERE title LIKE 'Many %'"))
    )


def test_its_page_shows_each_paragraph_beside_what_it_rests_on(
    desk: Desk,
    operator_client: FlaskClient,
    at_the_desk: Callable[..., Any],
    sign_in: Callable[[str], FlaskClient],
    queries: Callable[[], Any],
) -> None:
    conversation, number = desk.ask(), article(at_the_desk, f"source-{desk.gap()}")
    sources = (
        Source(1, SourceKind.ARTICLE, "Ferrets <b>", "Rules", "Ferrets may ride.", article_id=number, slug="x"),
        Source(2, SourceKind.CASE, "A ferret drives", "", "No, it may not.", conversation_id=conversation),
    )
    suggestion = desk.suggestion(
        body=f"{BODY}\n\n[To write: what it costs]\n\nNobody said this.",
        sources=sources,
        claims={"A ferret may ride in a basket.": [1], "It may not drive.": [2], "## Ferrets": []},
    )
    with queries() as asked_for:
        page = operator_client.get(f"{PAGE}/{suggestion}").get_data(as_text=True)
    assert len(asked_for) <= 14  # two of them for the list beside it
    beside = re.findall(r'<div class="dtxt both">([^<]*)</div><p class="pcite">(.*?)</p>', page)
    rests = {words: re.sub(r"<[^>]*>|\s+", " ", cited).split() for words, cited in beside}
    assert rests["A ferret may ride in a basket."][-1] == "1"
    assert rests["It may not drive."][-1] == "2"
    assert rests["## Ferrets"] == []
    assert " ".join(rests["[To write: what it costs]"]) == "Still to be written"
    assert " ".join(rests["Nobody said this."]) == "No source"
    assert re.search(rf'href="/support/knowledge/{number}#[^"]*rules[^"]*"', page)
    assert f"/support/conversations/{conversation}" in page
    assert page.count("Nobody has reviewed this") == 1
    assert "Ferrets &lt;b&gt;" in page
    refused = operator_client.post(f"{PAGE}/{suggestion}/approve", data={"version": version(page)})
    assert refused.status_code == 422
    assert "still to be written" in refused.get_data(as_text=True)
    # Who may not read conversations learns that one was used, and not what was said.
    other = sign_in("editor").get(f"{PAGE}/{suggestion}").get_data(as_text=True)
    assert "A conversation that you may not open" in other
    assert "No, it may not." not in other


def test_it_stands_beside_its_list_which_stays_when_it_is_decided(desk: Desk, operator_client: FlaskClient) -> None:
    first, other = desk.suggestion(title="First in line"), desk.suggestion(title="Next in line")
    address = f"{PAGE}/{first}"
    page = operator_client.get(f"{address}?state=review").get_data(as_text=True)
    beside, _, shown = page.partition('<main class="page pane" id="main"')
    assert re.search(rf'href="{address}\?state=review" aria-current="true"', beside)
    assert "Next in line" in beside
    assert "Next in line" not in shown
    decided = operator_client.post(f"{address}/approve?state=review", data={"version": version(shown)})
    assert decided.headers["Location"].endswith(f"{address}?state=review")
    page = operator_client.get(decided.headers["Location"]).get_data(as_text=True)
    beside, _, shown = page.partition('<main class="page pane" id="main"')
    assert "First in line" not in beside.partition("<body")[2]  # it waits no more
    assert f'href="{PAGE}/{other}?state=review"' in beside
    assert "Publish<span" in shown
    assert "Only mine" not in operator_client.get(f"{address}?state=nonsense&mine=2").get_data(as_text=True)

    def part(name: str) -> str:
        asked = {"HX-Request": "true", "HX-Target": name}
        return operator_client.get(f"{address}?state=review", headers=asked).get_data(as_text=True)

    assert "Next in line" in part("section#review-list")
    assert "<main" not in part("section#review-list")
    assert part("div#review").lstrip().startswith('<div class="pane" id="review"')
    assert "Next in line" not in part("div#review")
    whole = operator_client.get(PAGE, headers={"HX-Request": "true", "HX-Target": "div#review-list"})
    assert whole.get_data(as_text=True).lstrip().startswith('<nav class="kfilter"')


def test_it_is_shown_as_customers_will_see_it(desk: Desk, operator_client: FlaskClient) -> None:
    number = desk.suggestion(body="## How\n\nBring a **basket**.\n\n<script>alert(1)</script>")
    page = operator_client.get(f"{PAGE}/{number}").get_data(as_text=True)
    seen = page.partition("As customers will see it")[2].partition("</details>")[0]
    assert "<strong>basket</strong>" in seen
    assert "<script" not in seen


def test_a_change_is_shown_against_what_is_published(operator_client: FlaskClient, revision: tuple[int, int]) -> None:
    page = operator_client.get(f"{PAGE}/{revision[0]}").get_data(as_text=True)
    assert "1 paragraph changed." in page
    assert "<ins>basket with a lid.</ins>" in page
    assert "Change of" in page


def test_decisions_are_taken_from_its_page_and_late_ones_are_refused(
    desk: Desk, operator_client: FlaskClient, sign_in: Callable[[str], FlaskClient], at_the_desk: Callable[..., Any]
) -> None:
    number = desk.suggestion()
    address = f"{PAGE}/{number}"

    def take(step: str, **form: str) -> Any:
        now = version(operator_client.get(address).get_data(as_text=True))
        return operator_client.post(f"{address}/{step}", data={"version": now, **form})

    assert take("return").status_code == 422
    assert take("defer", until="never").status_code == 422
    assert take("reject", reason="because").status_code == 422
    assert take("assign", to="a stranger").status_code == 422
    for step, form, becomes in (
        ("return", {"note": "Say what it costs"}, "changes"),
        ("reopen", {}, "pending"),
        ("defer", {"until": "month"}, "deferred"),
        ("approve", {}, "approved"),
        ("assign", {"to": "omar"}, "approved"),
    ):
        assert take(step, **form).status_code == 303, step
        assert state(at_the_desk, number) == becomes
    seen = version(operator_client.get(address).get_data(as_text=True))
    assert take("publish").status_code == 303
    page = operator_client.get(address).get_data(as_text=True)
    assert "Its questions are asked again once the article is indexed." in page
    assert "Mina Keller asked for changes" in page
    late = operator_client.post(f"{address}/reject", data={"version": seen, "reason": "other"})
    assert late.status_code == 409
    assert "since you last looked" in late.get_data(as_text=True)
    assert sign_in("editor").post(f"{address}/approve").status_code == 403
    assert operator_client.get(f"{PAGE}/999999999").status_code == 404
    assert operator_client.post(f"{PAGE}/999999999/approve").status_code == 404


def test_a_stale_change_is_said_so_and_brought_up_to_date_with_one_button(
    operator_client: FlaskClient, revision: tuple[int, int], at_the_desk: Callable[..., Any]
) -> None:
    number, of = revision
    publish_anew(at_the_desk, of, TEXT.replace("It costs nothing.", "It costs one coin."))
    address = f"{PAGE}/{number}"
    answer = operator_client.post(f"{address}/approve")
    assert answer.status_code == 409
    assert "published anew" in answer.get_data(as_text=True)
    assert state(at_the_desk, number) == "stale"
    page = operator_client.get(address).get_data(as_text=True)
    assert "do not touch the same paragraphs" in page
    assert operator_client.post(f"{address}/merge", data={"version": version(page)}).status_code == 303
    assert state(at_the_desk, number) == "pending"
    for step in ("approve", "publish"):
        assert operator_client.post(f"{address}/{step}").status_code == 303
    body = at_the_desk(lambda session: knowledge.published_revision(session, of).body)
    assert body == "Ferrets may ride.\n\nBring a basket with a lid.\n\nIt costs one coin."


def test_where_both_changed_the_same_somebody_chooses_of_what_was_shown(
    operator_client: FlaskClient, revision: tuple[int, int], at_the_desk: Callable[..., Any]
) -> None:
    number, of = revision
    publish_anew(at_the_desk, of, TEXT.replace("Bring a basket.", "Bring a cage."))
    address = f"{PAGE}/{number}"
    operator_client.post(f"{address}/approve")
    assert operator_client.post(f"{address}/merge").status_code == 422
    page = operator_client.get(f"{address}/merge").get_data(as_text=True)
    choice = re.search(r'name="(p\d+)" value="mine"', page)
    against = re.search(r'name="against" value="(\w+)"', page)
    assert choice is not None
    assert against is not None
    form = {"version": version(page), "choose": "1", "against": against[1], choice[1]: "both"}
    publish_anew(at_the_desk, of, TEXT.replace("Bring a basket.", "Bring a crate."))
    late = operator_client.post(f"{address}/merge", data=form)
    assert late.status_code == 409
    assert "changed once more" in late.get_data(as_text=True)
    again = re.search(r'name="against" value="(\w+)"', late.get_data(as_text=True))
    assert again is not None
    assert operator_client.post(f"{address}/merge", data={**form, "against": again[1]}).status_code == 303
    assert "Bring a crate.\n\nBring a basket with a lid." in at_the_desk(
        lambda s: s.get(ArticleSuggestion, number).body
    )


def test_a_draft_in_the_way_can_be_left_out(
    operator_client: FlaskClient, revision: tuple[int, int], at_the_desk: Callable[..., Any]
) -> None:
    number, of = revision
    publish_anew(at_the_desk, of, TEXT.replace("Bring a basket.", "Bring a cage."), draft=True)
    address = f"{PAGE}/{number}"
    answer = operator_client.post(f"{address}/approve")
    assert answer.status_code == 409
    page = answer.get_data(as_text=True)
    assert "Leave their draft out" in page
    assert state(at_the_desk, number) == "conflict"
    assert operator_client.post(f"{address}/merge", data={"replace": "1", "version": version(page)}).status_code == 303
    for step in ("approve", "publish"):
        assert operator_client.post(f"{address}/{step}").status_code == 303
    assert at_the_desk(lambda session: knowledge.published_revision(session, of).body) == CHANGED


def test_what_somebody_edited_is_written_again_only_where_that_may_go(
    desk: Desk, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    number = desk.suggestion()
    words = Words("", "Ferrets", "Mine.")
    at_the_desk(lambda session: suggestions.edit(session, number, words, actor=OPERATORS["omar"]))
    address = f"{PAGE}/{number}"
    page = operator_client.get(address).get_data(as_text=True)
    assert "Written by Omar" in page
    refused = operator_client.post(f"{address}/regenerate", data={"write": "article"})
    assert refused.status_code == 422
    assert "has edited it" in refused.get_data(as_text=True)
    assert operator_client.post(f"{address}/regenerate", data={"write": "revision:999999"}).status_code == 422
    assert (
        operator_client.post(f"{address}/regenerate", data={"drop_edits": "1", "write": "article"}).status_code == 303
    )
    assert state(at_the_desk, number) == "generating"


def test_nobody_approves_their_own_words_where_a_second_person_has_to(
    make_app: Callable[..., Flask], at_the_desk: Callable[..., Any], desk: Desk
) -> None:
    number = desk.suggestion()
    client = make_app(REVIEW_SECOND_PERSON=True).test_client()
    mina, omar = ({"X-Operator": who, "Origin": "http://localhost"} for who in ("mina", "omar"))
    page = client.get(f"{PAGE}/{number}", headers=mina).get_data(as_text=True)
    assert "somebody else has to approve them" in page
    form = {"version": version(page)}
    assert client.post(f"{PAGE}/{number}/approve", data=form, headers=mina).status_code == 409
    assert state(at_the_desk, number) == "pending"
    assert client.post(f"{PAGE}/{number}/approve", data=form, headers=omar).status_code == 303
    assert state(at_the_desk, number) == "approved"


def test_the_host_decides_about_the_article_that_a_suggestion_changes(
    make_app: Callable[..., Flask], at_the_desk: Callable[..., Any], revision: tuple[int, int], desk: Desk
) -> None:
    number, sealed = revision
    free = desk.suggestion()
    refused = Subject("article", sealed)
    client = make_app(AUTHORIZE=lambda _operator, _permission, subject: subject != refused).test_client()
    mina = {"X-Operator": "mina", "Origin": "http://localhost"}
    listed = client.get(PAGE, headers=mina).get_data(as_text=True)
    assert f'href="{PAGE}/{free}?state=review"' in listed
    assert f'href="{PAGE}/{number}?' not in listed
    beside = client.get(f"{PAGE}/{free}", headers=mina).get_data(as_text=True)
    assert f'href="{PAGE}/{free}?state=review" aria-current="true"' in beside
    assert f'href="{PAGE}/{number}?' not in beside
    part = {**mina, "HX-Request": "true", "HX-Target": "section#review-list"}
    assert client.get(f"{PAGE}/{number}", headers=part).status_code == 403
    for path in ("", "/merge", "/edit"):
        assert client.get(f"{PAGE}/{number}{path}", headers=mina).status_code == 403, path
    for step in ("approve", "reject", "assign", "merge", "hand-off", "edit"):
        answer = client.post(f"{PAGE}/{number}/{step}", data={"reason": "other"}, headers=mina)
        assert answer.status_code == 403, step
    assert state(at_the_desk, number) == "pending"


# --- from a gap -------------------------------------------------------------------------------------------------------


def test_a_gap_leads_to_its_suggestion(desk: Desk, operator_client: FlaskClient) -> None:
    gap = desk.gap()
    address = f"/support/knowledge/gaps/{gap}"
    assert "Suggest an article" in operator_client.get(address).get_data(as_text=True)
    first = operator_client.post(f"{address}/suggest")
    assert first.status_code == 303
    assert operator_client.post(f"{address}/suggest").location == first.location
    page = operator_client.get(address).get_data(as_text=True)
    assert first.location.removeprefix("http://localhost") in page
    assert "Being written" in page
    assert "had an article suggested" in page
    assert "Suggest an article" not in page.partition('class="gacts"')[2]
    assert "is being searched" in operator_client.get(first.location).get_data(as_text=True)
    assert operator_client.get("/support/knowledge/gaps?state=answered").status_code == 200


# --- the editor -------------------------------------------------------------------------------------------------------


def enter(client: FlaskClient, number: int, **form: str) -> str:
    link = client.post(f"{PAGE}/{number}/hand-off", data=form).location
    answer = client.get(link)
    assert answer.status_code == 303, link
    assert answer.location.endswith(f"{PAGE}/{number}/edit")
    return str(link)


def test_the_editor_opens_by_a_link_that_works_once_and_for_one(
    desk: Desk, operator_client: FlaskClient, sign_in: Callable[[str], FlaskClient]
) -> None:
    number, conversation = desk.suggestion(), desk.ask()
    address = f"{PAGE}/{number}/edit"
    closed = operator_client.get(address)
    assert closed.location.endswith(f"{PAGE}/{number}?editor=closed")
    assert "works once" in operator_client.get(closed.location).get_data(as_text=True)
    link = enter(operator_client, number, conversation=str(conversation))
    page = operator_client.get(address).get_data(as_text=True)
    assert f'href="/support/conversations/{conversation}" aria-label="Leave the editor"' in page
    assert "Save and publish" not in page
    again = operator_client.get(link)
    assert again.status_code == 409
    assert "was used already" in again.get_data(as_text=True)
    theirs = operator_client.post(f"{PAGE}/{number}/hand-off").location
    assert sign_in("omar").get(theirs).status_code == 409
    assert operator_client.get(theirs).status_code == 303  # theirs still


def test_what_is_written_there_is_kept_and_nobody_saves_over_another(
    desk: Desk, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    number = desk.suggestion(state="approved")
    address = f"{PAGE}/{number}/edit"
    words = {"title": "Ferrets", "body": "Mine.\n\nAlso mine.", "base": BODY, "audience": "public", "auto": "1"}
    unasked = operator_client.post(address, data={**words, "edits": "3"})
    assert unasked.status_code == 422
    assert "Open it again" in unasked.json["message"]
    enter(operator_client, number)
    page = operator_client.get(address).get_data(as_text=True)
    edits = re.search(r'name="edits" value="(\d+)"', page)
    assert edits is not None
    kept = operator_client.post(address, data={**words, "edits": edits[1]})
    assert kept.status_code == 200
    assert kept.json["address"] == address
    assert state(at_the_desk, number) == "pending"
    theirs = Words("", "Ferrets", "Theirs.\n\nAlso mine.")
    at_the_desk(lambda session: suggestions.edit(session, number, theirs, actor=OPERATORS["omar"]))
    late = {
        **words,
        "base": "Mine.\n\nAlso mine.",
        "body": "Mine again.\n\nAlso mine.",
        "edits": str(kept.json["edits"]),
    }
    told = operator_client.post(address, data=late)
    assert told.status_code == 409
    assert told.json["who"] == OPERATORS["omar"].name
    both = operator_client.post(address, data={**late, "auto": ""})
    assert both.status_code == 409
    page = both.get_data(as_text=True)
    assert "Two versions" in page
    now = re.search(r'name="edits" value="(\d+)"', page)
    choice = re.search(r'name="(p\d+)" value="both"', page)
    assert now is not None
    assert choice is not None
    chosen = {**late, "auto": "", "edits": now[1], "merging": "1", choice[1]: "both"}
    assert operator_client.post(address, data=chosen).status_code == 303
    assert at_the_desk(lambda session: session.get(ArticleSuggestion, number).body) == (
        "Theirs.\n\nMine again.\n\nAlso mine."
    )


def test_what_cannot_be_kept_stays_in_its_field(desk: Desk, operator_client: FlaskClient) -> None:
    number = desk.suggestion()
    enter(operator_client, number)
    address = f"{PAGE}/{number}/edit"
    page = operator_client.get(address).get_data(as_text=True)
    edits = re.search(r'name="edits" value="(\d+)"', page)
    assert edits is not None
    refused = operator_client.post(address, data={"title": "", "body": "Kept words", "edits": edits[1]})
    assert refused.status_code == 422
    assert "Kept words" in refused.get_data(as_text=True)
    operator_client.post(f"{PAGE}/{number}/reject", data={"reason": "other"})
    over = operator_client.post(address, data={"title": "T", "body": "Kept words", "edits": edits[1]})
    assert over.status_code == 409
    assert "Kept words" in over.get_data(as_text=True)
    assert operator_client.post(f"{PAGE}/{number}/hand-off").status_code == 409
