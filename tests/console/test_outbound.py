"""The pages of follow-ups: what they show and refuse, and that each asks few questions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from flask_cairnloop import Customer, Operator, Permission, Subject
from flask_cairnloop.outbound import service, suppression
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope, OutboundSuppression
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState
from flask_cairnloop.testing import run_jobs
from tests.console.conftest import Desk
from tests.support.host import OPERATORS

READER = Operator("rea", "Rea", permissions=frozenset({"conversations.read", "outbound.read"}))
SENDER = Operator("sen", "Sen", permissions=frozenset({"conversations.read", "outbound.read", "outbound.send"}))


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "BULK_LIMIT": 2}


def newest(desk: Desk, model: Any) -> Any:
    with desk.app.app_context():
        return desk.app.extensions["sqlalchemy"].session.scalars(select(model).order_by(model.id.desc())).first()


def preview(client: FlaskClient, desk: Desk, **form: Any) -> OutboundEnvelope:
    answer = client.post("/support/outbound/new", data={"template": desk.template("Hi {{customer.name}}"), **form})
    assert answer.status_code == 303, answer.text
    found = newest(desk, OutboundEnvelope)
    assert answer.location == f"/support/outbound/{found.id}"
    return found


def test_customers_by_name_get_what_was_previewed(desk: Desk, operator_client: FlaskClient) -> None:
    desk.ask(customer=Customer("by-ref", "Rita Ref"))
    place = desk.ask(customer=Customer("by-mail", "Mia Mail", "Mia@Mail.example"))
    made = preview(operator_client, desk, customers="by-ref\r\n mia@mail.example \n\nby-ref")
    shown = operator_client.get(f"/support/outbound/{made.id}").text
    for words in ("Hi Rita Ref", "Hi Mia Mail", "2 customers would get it", "stand in the chat and the widget only"):
        assert words in shown
    operator_client.post(f"/support/outbound/{made.id}/send")
    run_jobs(desk.app)
    assert "2 delivered." in operator_client.get(f"/support/outbound/{made.id}").text
    assert "Hi Mia Mail" in operator_client.get(f"/support/conversations/{place}").text


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"customers": "nobody-at-all\nnor-me@x.example"}, "Nobody is known here as nobody-at-all, nor-me@x.example."),
        ({"customers": " "}, "Name at least one customer."),
        ({"customers": "known", "at": "yesterday"}, "Write when it is to leave"),
        ({"customers": "known", "at": "2200-01-01T09:00"}, "Choose a time within the next year."),
        ({"customers": "known", "template": ""}, "Choose what is sent."),
        ({"customers": "known", "template": "999999"}, "There is no such template."),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(
    desk: Desk, operator_client: FlaskClient, form: dict[str, str], says: str
) -> None:
    desk.ask(customer=Customer("known", "Known"))
    answer = operator_client.post("/support/outbound/new", data={"template": desk.template(), **form})
    assert answer.status_code == 422
    assert says in answer.text


def test_a_list_over_the_cap_is_refused_split_and_stays_on_record(desk: Desk, operator_client: FlaskClient) -> None:
    for _ in range(3):
        desk.ask()
    made = preview(operator_client, desk, list="view=open&assignee=nobody")
    page = operator_client.get(f"/support/outbound/{made.id}").text
    assert made.state is EnvelopeState.REFUSED
    assert "too many at once" in page
    assert "stays on record" in page
    split = operator_client.post(f"/support/outbound/{made.id}/split", follow_redirects=True).text
    assert "Part 2" in split
    assert operator_client.post(f"/support/outbound/{made.id}/split").status_code == 409
    assert "Refused" in operator_client.get("/support/outbound").text


def test_what_is_ticked_in_the_inbox_leads_to_the_page_that_prepares_it(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    ids = [desk.ask(), desk.ask()]
    answer = operator_client.post("/support/inbox/several", data={"id": ids, "step": "follow_up", "list": "view=open"})
    assert answer.location == f"/support/outbound/new?id={ids[0]}&id={ids[1]}"
    part = fragment("POST", "/support/inbox/several", id=ids, step="follow_up", list="view=open")
    assert part.headers["HX-Redirect"] == answer.location
    assert 'For <b class="b">2 customers</b>' in operator_client.get(answer.location).text


def test_a_second_press_is_told_that_it_was_sent(desk: Desk, operator_client: FlaskClient) -> None:
    made = preview(operator_client, desk, conversation=desk.ask())
    assert operator_client.post(f"/support/outbound/{made.id}/send").status_code == 303
    second = operator_client.post(f"/support/outbound/{made.id}/send")
    assert second.status_code == 409
    assert "is submitted cannot be sent" in second.text
    with desk.app.app_context():
        rows = desk.app.extensions["sqlalchemy"].session.scalars(
            select(OutboundDelivery).filter_by(envelope_id=made.id)
        )
        assert len(rows.all()) == 1


def test_the_thread_shows_what_waits_and_lets_it_be_stopped(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    place = desk.ask()
    number = desk.delivery(place)
    page = operator_client.get(f"/support/conversations/{place}").text
    assert f'id="follow-up-{number}"' in page
    assert "Scheduled" in page
    answer = fragment("POST", f"/support/outbound/deliveries/{number}/cancel", **{"from": "thread"})
    assert f'id="follow-up-{number}"' not in answer.text
    assert desk.get(OutboundDelivery, number).state is DeliveryState.CANCELLED


def test_one_that_nobody_knows_of_is_settled_with_a_reason(desk: Desk, operator_client: FlaskClient) -> None:
    place = desk.ask()
    number = desk.delivery(place, DeliveryState.UNCERTAIN)
    where = f"/support/outbound/deliveries/{number}/settle"
    assert "Say how it ended" in operator_client.get(f"/support/conversations/{place}").text
    assert operator_client.post(where, data={"did": "delivered", "reason": ""}).status_code == 422
    assert operator_client.post(where, data={"did": "nothing", "reason": "x"}).status_code == 422
    assert operator_client.post(where, data={"did": "delivered", "reason": "They said so"}).status_code == 303
    assert desk.get(OutboundDelivery, number).state is DeliveryState.DELIVERED
    assert "They said so" in operator_client.get("/support/audit").text


def test_a_template_that_a_colleague_saved_is_not_overwritten(desk: Desk, operator_client: FlaskClient) -> None:
    number = desk.template()
    where = f"/support/outbound/templates/{number}"
    form = {"name": f"N{number}", "subject": "S", "body": "Theirs", "edits": "1"}
    assert operator_client.post(where, data=form).status_code == 303
    late = operator_client.post(where, data={**form, "body": "Mine, late"})
    assert late.status_code == 409
    assert "Somebody has saved this template" in late.text
    assert "Mine, late" in late.text  # what was typed stays
    wrong = operator_client.post(where, data={**form, "body": "{{nobody.name}}", "edits": "2"})
    assert wrong.status_code == 422
    assert "there is no variable" in wrong.text
    operator_client.post(f"{where}/archive")
    assert "Archived" in operator_client.get(where).text
    assert operator_client.post(where, data={**form, "edits": "2"}).status_code == 409


def test_who_gets_none_is_listed_added_and_taken_off(desk: Desk, operator_client: FlaskClient) -> None:
    desk.ask(customer=Customer("out", "Otto Out", "otto@x.example"))
    where = "/support/outbound/suppressed"
    assert operator_client.post(where, data={"whom": "OTTO@x.example"}).status_code == 303
    assert "Otto Out" in operator_client.get(where).text
    assert "They get none already." in operator_client.post(where, data={"whom": "out"}).text
    assert operator_client.post(where, data={"whom": "who@x.example"}).status_code == 422
    number = newest(desk, OutboundSuppression).id
    assert operator_client.post(f"{where}/{number}/remove", data={"reason": " "}).status_code == 422
    assert operator_client.post(f"{where}/{number}/remove", data={"reason": "Asked"}).status_code == 303
    assert "Otto Out" not in operator_client.get(where).text


def test_the_link_of_a_customer_asks_and_then_stops_them(desk: Desk, client: FlaskClient) -> None:
    place = desk.ask()
    with desk.app.app_context():
        session = desk.app.extensions["sqlalchemy"].session
        from flask_cairnloop.conversations import service as conversations

        person = conversations.get(session, place).customer
        path, ref = suppression.opt_out_path(person), person.ref
    page = client.get(path)
    assert page.status_code == 200
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "script" not in page.text
    assert "You get no more" in client.post(path).text
    assert client.post(f"{path}x").status_code == 404
    with desk.app.app_context():
        session = desk.app.extensions["sqlalchemy"].session
        assert suppression.add(session, ref, actor=OPERATORS["mina"]) is False


def test_what_one_may_decides_what_one_sees_and_sends(make_app: Callable[..., Flask]) -> None:
    people = {one.id: one for one in (READER, SENDER)}
    who = {"now": "rea"}
    app = make_app(OPERATOR_LOADER=lambda: people[who["now"]])
    desk, client = Desk(app), app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost")
    one, two = desk.envelope(desk.ask()), desk.envelope(desk.ask(), desk.ask())
    assert "Send to" not in client.get(f"/support/outbound/{one}").text
    for path in (f"{one}/send", f"{two}/send", "new", "suppressed", "templates"):
        assert client.post(f"/support/outbound/{path}").status_code == 403, path
    who["now"] = "sen"
    assert client.post(f"/support/outbound/{two}/send").status_code == 403
    assert client.post(f"/support/outbound/{one}/send").status_code == 303


def test_customers_whom_authorize_keeps_from_somebody_are_left_out_and_not_shown(
    make_app: Callable[..., Flask],
) -> None:
    sealed: set[int] = set()

    def may(operator: Operator, permission: Permission, subject: Subject | None) -> bool:
        return subject is None or subject.id not in sealed

    app = make_app(AUTHORIZE=may)
    desk, client = Desk(app), app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_X_OPERATOR="mina")
    open_, shut = desk.ask(customer=Customer("open", "Olga Open")), desk.ask(customer=Customer("shut", "Shane Shut"))
    sealed.add(shut)
    made = preview(client, desk, id=[open_, shut])
    page = client.get(f"/support/outbound/{made.id}").text
    assert "Olga Open" in page
    assert "Shane Shut" not in page
    assert "1 customer more, whose conversations your account may not see." in page.replace("1 Customer", "1 customer")
    assert client.get(f"/support/outbound/new?conversation={shut}").status_code == 403
    sealed.add(open_)
    assert client.post(f"/support/outbound/{made.id}/send").status_code == 403
    with app.app_context():
        rows = app.extensions["sqlalchemy"].session.scalars(select(OutboundDelivery).filter_by(envelope_id=made.id))
        assert {row.state for row in rows} == {DeliveryState.PREVIEWED, DeliveryState.SKIPPED}


def test_the_list_is_paged_and_its_pages_ask_few_questions(
    desk: Desk, operator_client: FlaskClient, queries: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_cairnloop.outbound import queries as outbound_queries

    monkeypatch.setattr(outbound_queries, "PAGE", 2)
    made = [desk.envelope(desk.ask()) for _ in range(5)]
    seen: list[str] = []
    page = operator_client.get("/support/outbound").text
    while True:
        seen += [str(one) for one in made if f'id="envelope-{one}"' in page]
        if "Earlier ones" not in page:
            break
        after = page.partition('href="/support/outbound?after=')[2].partition('"')[0]
        page = operator_client.get(f"/support/outbound?after={after}").text
    assert sorted(seen) == sorted(map(str, made))
    assert len(set(seen)) == len(seen)
    for path, most in (("", 9), (f"/{made[0]}", 9), ("/templates", 8), ("/suppressed", 8), ("/new", 8)):
        with queries() as asked:
            assert operator_client.get(f"/support/outbound{path}").status_code == 200
        assert len(asked) <= most, (path, len(asked))
    assert operator_client.get("/support/outbound?after=nonsense").status_code == 200
    assert operator_client.get("/support/outbound/999999").status_code == 404
    assert service.MOST == 1_000
