"""The host's pages: the start page of the demo, the shop's own page with the widget, sign-in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, Response, abort, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response as AnyResponse

from example_app import hooks, people, signin, story
from example_app.models import Account, Activity, Booking, Charge, Letter, Role, Tracker, User, db
from flask_cairnloop import disconnect_operator

pages = Blueprint("example", __name__)


@dataclass(frozen=True, slots=True)
class Door:
    """A person of the demo whom the start page can sign in with one click."""

    email: str
    name: str
    line: str

    @property
    def initials(self) -> str:
        return "".join(word[0] for word in self.name.split())


@dataclass(frozen=True, slots=True)
class Pointer:
    """A seeded conversation that shows one state, as the start page names it."""

    slug: str
    title: str
    text: str
    href: str = ""


CUSTOMERS = (
    Door("tess@demo.example", "Tess Halloran", "Lockside Cycles, waits for an answer"),
    Door("dele@demo.example", "Dele Adebayo", "Pedal & Pour, has not asked anything yet"),
    Door("graham@demo.example", "Graham Teale", "Marsh Barn Bikes, on trial: some answers go by themselves"),
    Door("owen@demo.example", "Owen Pritchard", "Two Bridges Bike Hire, payment overdue"),
)
OPERATORS = (
    Door("mina@demo.example", "Mina Park", "Support"),
    Door("omar@demo.example", "Omar Siddiqui", "Support"),
)
STAGES = {"draft": "blocked-deposit", "approve": "winter", "answer": "failed-payout"}
OTHERS = (
    Pointer("vague", "A vague question", "The draft asks one thing back instead of guessing."),
    Pointer("maps", "Nothing is written about it", "The desk hands over to a person and says why."),
    Pointer(
        "trial-turnaround", "Answered by itself", "A rule of this app lets well-covered questions of trial shops pass."
    ),
    Pointer("weekend-price", "A draft that failed", "The engine was away; one click asks for another."),
    Pointer("read-only", "Material only", "This shop owes money: a person writes, the draft may be copied."),
    Pointer("crash", "Withheld", "A rider was hurt. Another rule keeps every draft away from that."),
    Pointer("invoice-again", "Resolved, then opened again", "The customer came back with one more question."),
    Pointer("dead-trackers", "A long one", "Notes, several answers, an exchange and a good rating."),
)


def init_app(app: Flask) -> None:
    """Register the pages, and put the same strict rules on them that the support desk puts on its own."""
    app.register_blueprint(pages)
    app.add_template_filter(hooks.money, "money")
    app.after_request(_security_headers)


pages.before_request(signin.refuse_other_sites)


@pages.get("/")
def start() -> str:
    """Both sides of the loop, with a way in for each."""
    return render_template(
        "example/start.html",
        customer=signin.current(Role.CUSTOMER),
        operator=signin.current(Role.OPERATOR),
        customers=CUSTOMERS,
        operators=OPERATORS,
        password=people.PASSWORD,
        stages={stage: _conversation_url(slug) for stage, slug in STAGES.items()},
        others=[replace(other, href=_conversation_url(other.slug)) for other in OTHERS],
    )


@pages.get("/chat")
def chat() -> AnyResponse | str:
    """The shop's own page, with the support widget on it."""
    user = signin.current(Role.CUSTOMER)
    if user is None or user.account is None:
        return redirect(url_for("example.login", next=url_for("example.chat")))
    letters = select(Letter).filter_by(user_id=user.id).order_by(Letter.sent_at.desc()).limit(5)
    return render_template(
        "example/chat.html",
        user=user,
        token=_token(user),
        letters=db.session.scalars(letters).all(),
        **_shop_page(user.account),
    )


@pages.get("/chat/token")
def chat_token() -> tuple[dict[str, str], int, dict[str, str]]:
    """A fresh token for a chat that has been open for longer than a token is good for."""
    user = signin.current(Role.CUSTOMER)
    if user is None:
        abort(401)
    return {"token": _token(user)}, 200, {"Cache-Control": "no-store"}


@pages.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | tuple[str, int] | str:
    """Sign in as a customer or as an operator; the account decides which."""
    target = signin.local_path(request.values.get("next"))
    if request.method == "GET":
        return render_template("example/login.html", next=target)
    user = signin.sign_in(request.form.get("email", ""), request.form.get("password", ""))
    if user is None:
        shown = {"next": target, "email": request.form.get("email", ""), "wrong": True}
        return render_template("example/login.html", **shown), 401
    home = url_for("cairnloop.home") if user.role is Role.OPERATOR else url_for("example.chat")
    return redirect(target or home, 303)


@pages.post("/logout")
def logout() -> AnyResponse:
    """Sign out of one role, or of both."""
    role = request.form.get("role", "")
    operator = hooks.signed_in_operator()
    signin.sign_out(Role(role) if role in list(Role) else None)
    if operator is not None and hooks.signed_in_operator() is None:
        disconnect_operator(operator.id)  # what they have open elsewhere in this browser hears nothing more
    return redirect(url_for("example.start"), 303)


def _token(user: User) -> str:
    return hooks.verify_customer.issue(hooks.as_customer(user))


def _conversation_url(slug: str) -> str:
    """The console's page of a seeded conversation, or the inbox where the demo has not been seeded."""
    number = story.conversation_id(db.session(), slug)
    return url_for("cairnloop.inbox") if number is None else url_for("cairnloop.conversation", conversation_id=number)


def _shop_page(account: Account) -> dict[str, object]:
    zone = ZoneInfo(account.time_zone)
    today = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    mine = {"account_id": account.id}
    bookings = (
        db.session.scalars(
            select(Booking)
            .filter_by(**mine)
            .where(Booking.starts_at >= today.astimezone(UTC), Booking.starts_at < today + timedelta(days=1))
            .order_by(Booking.starts_at)
        ).all()
        or db.session.scalars(
            # The demo was seeded on an earlier day: show the newest day there is, under its own date.
            select(Booking).filter_by(**mine).order_by(Booking.starts_at.desc()).limit(6)
        ).all()[::-1]
    )
    return {
        "account": account,
        "zone": zone,
        "day": bookings[0].starts_at.astimezone(zone) if bookings else today,
        "bookings": bookings,
        "trackers": db.session.scalars(select(Tracker).filter_by(**mine).order_by(Tracker.serial)).all(),
        "charges": db.session.scalars(
            select(Charge).filter_by(**mine).order_by(Charge.charged_at.desc()).limit(4)
        ).all(),
        "activities": db.session.scalars(
            select(Activity).filter_by(**mine).order_by(Activity.happened_at.desc()).limit(5)
        ).all(),
        "tracker_state": hooks.tracker_state,
    }


def _security_headers(response: Response) -> Response:
    """Defaults only: what the support desk has set for its own pages stays."""
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    return response
