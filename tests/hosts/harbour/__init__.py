"""A foreign host, as apps grow to be: names, sign-in, forms and headers of its own. Of the desk it knows the README.

A harbour office: ships' agents ask, the office answers. It stands behind a reverse proxy that mounts it below a path.
Everything it says to the desk is in :func:`create_app`; the rest is what it would have without a desk, and much of it
is called as something of the desk's is: tables, templates, template variables.
"""

from __future__ import annotations

import json
import os
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, redirect, render_template, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user, logout_user
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect, FlaskForm
from flask_wtf.csrf import CSRFError
from jinja2 import StrictUndefined
from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from werkzeug.middleware.proxy_fix import ProxyFix
from wtforms import PasswordField, StringField
from wtforms.validators import DataRequired

from flask_cairnloop import Cairnloop, Customer, Operator, SignedCustomerVerifier

PASSWORD = "low tide"
# The strictest that its own pages can live with. It goes on every answer of the app, the desk's included.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'none'"
)
# Template variables of its own, for its own pages.
VARIABLES: dict[str, Any] = {
    "alone": True,
    "asset": "kelp",
    "console_path": "/bridge",
    "counts": [3, 4],
    "detail": "fog",
    "fresh": "fish",
    "operator": "crane",
    "paged": True,
    "say": "ahoy",
    "section": "quay",
    "selected": 1,
    "settings": None,
    "theme": "stormy",
    "thread": "rope",
    "times": 7,
    "view": "sea",
}


class Base(DeclarativeBase):
    """The office names its constraints in its own way."""

    metadata = MetaData(
        naming_convention={
            "pk": "harbour_%(table_name)s_key",
            "uq": "harbour_%(table_name)s_%(column_0_name)s_once",
            "ix": "harbour_%(table_name)s_%(column_0_name)s",
        }
    )


db = SQLAlchemy(model_class=Base, session_options={"autoflush": False, "expire_on_commit": False})
login = LoginManager()
csrf = CSRFProtect()
verify_agent = SignedCustomerVerifier()
pages = Blueprint("harbour", __name__)


class Person(UserMixin, db.Model):
    """Whoever can sign in."""

    __tablename__ = "customers"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(200), unique=True)
    name: Mapped[str]
    office: Mapped[bool] = mapped_column(default=False)
    left: Mapped[bool] = mapped_column(default=False)

    @property
    def is_active(self) -> bool:
        return not self.left


class Conversation(db.Model):
    """A talk over the radio."""

    __tablename__ = "conversations"

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(index=True)


class SignIn(FlaskForm):
    email = StringField(validators=[DataRequired()])
    password = PasswordField(validators=[DataRequired()])


@login.user_loader
def person(number: str) -> Person | None:
    found: Person | None = db.session.get(Person, int(number))
    return found if found is not None and not found.left else None


def officer() -> Operator | None:
    """CAIRNLOOP_OPERATOR_LOADER"""
    if not current_user.is_authenticated:
        return None
    if not db.session.scalar(db.select(Person.office).filter_by(id=current_user.id)):
        return None
    return Operator(str(current_user.id), current_user.name, current_user.email)


def create_app() -> Flask:
    """The office of ``HARBOUR_DATABASE_URL``, ``HARBOUR_REDIS_URL`` and the keys in the JSON of ``HARBOUR_CONFIG``."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY="a secret for tests of a harbour only",
        SESSION_COOKIE_NAME="harbour",
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_COOKIE_SECURE=True,
        SQLALCHEMY_DATABASE_URI=os.environ["HARBOUR_DATABASE_URL"],
        # Few, so that whoever holds one for longer than a request is found out.
        SQLALCHEMY_ENGINE_OPTIONS={"pool_size": 2, "max_overflow": 1, "pool_timeout": 3},
        CAIRNLOOP_URL_PREFIX="/help/desk",
        CAIRNLOOP_SCHEMA="Front Desk",
        CAIRNLOOP_REDIS_URL=os.environ["HARBOUR_REDIS_URL"],
        CAIRNLOOP_PRODUCT_NAME="Harbour office",
        CAIRNLOOP_OPERATOR_LOADER="tests.hosts.harbour:officer",
        CAIRNLOOP_CUSTOMER_VERIFIER=verify_agent,
        CAIRNLOOP_LOGIN_URL="/quay/accounts/sign-in",
        CAIRNLOOP_DRAFT_DELAY=0.0,
        CAIRNLOOP_UNDO_SEND=0.0,
    )
    app.config.update(json.loads(os.environ.get("HARBOUR_CONFIG", "{}")))
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    login.init_app(app)
    login.login_view = "harbour.sign_in"
    login.session_protection = "strong"
    csrf.init_app(app)
    csrf.exempt("flask_cairnloop.channels.widget.messages.widget_messages")  # as the guide to the chat says
    csrf.exempt("flask_cairnloop.channels.widget.files.widget_upload")
    db.init_app(app)
    Migrate(app, db, directory=os.environ.get("HARBOUR_MIGRATIONS", "migrations"))
    Cairnloop(app, db)
    app.register_blueprint(pages)
    app.context_processor(lambda: VARIABLES)
    app.after_request(_lock_down)
    for problem in (403, 404, CSRFError):
        app.register_error_handler(problem, _trouble)
    return app


def _lock_down(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _trouble(error: Any) -> tuple[str, int]:
    return render_template("error.html", words=error.description), error.code


@pages.get("/")
@login_required
def quay() -> str:
    """The agents' page, with the chat on it."""
    agent = Customer(f"agent-{current_user.id}", current_user.name, current_user.email)
    return render_template("home.html", token=verify_agent.issue(agent))


@pages.route("/accounts/sign-in", methods=["GET", "POST"])
def sign_in() -> Any:
    form = SignIn()
    if form.validate_on_submit() and form.password.data == PASSWORD:
        found = db.session.scalars(db.select(Person).filter_by(email=form.email.data)).one_or_none()
        if found is not None:
            login_user(found)
            return redirect(request.args.get("next") or "/quay/", 303)
    return render_template("base.html", form=form)


@pages.post("/accounts/sign-out")
def sign_out() -> Any:
    logout_user()
    return jsonify(signed_out=True)
