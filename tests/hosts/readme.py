"""A host made of the README's lines and nothing else: what surrounds them is what every app has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text()
# An app that its developer has already: a database, migrations, a sign-in. None of it knows of the desk.
BEFORE = """
import os

from flask import Flask, redirect, render_template_string
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config.update(SECRET_KEY=os.environ["SECRET_KEY"], SQLALCHEMY_DATABASE_URI=os.environ["DATABASE_URL"])
login = LoginManager(app)


class User(UserMixin):
    def __init__(self, id, name, is_staff):
        self.id, self.name, self.is_staff, self.email = id, name, is_staff, f"{id}@shop.example"


app.config["CAIRNLOOP_UNDO_SEND"] = 0.0  # nobody here waits to take something back
USERS = {"kim": User("kim", "Kim of the shop", True), "lou": User("lou", "Lou", False)}
login.user_loader(USERS.get)


@app.get("/sign-in/<name>")
def sign_in(name):
    login_user(USERS[name])
    return redirect("/")
"""
AFTER = '''
PAGE = """<!doctype html><title>My shop</title>
{html}
"""


@app.get("/")
def shop():
    user = current_user
    {token}
    return render_template_string(PAGE, token=token)
'''


def blocks(language: str, document: str = README) -> list[str]:
    """The fenced blocks of this language."""
    return [block.strip() for block in re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL)]


def section(step: str) -> str:
    """What stands under one of the README's numbered steps."""
    found = re.search(rf"\*\*\d\. {re.escape(step)}(.*?)(?=\n\*\*\d\. |\n## )", README, re.DOTALL)
    assert found is not None, step
    return found[1]


def write_app(folder: Path) -> None:
    """The app, with the README's steps where it says that they go."""
    (making,) = blocks("python", section("Make the object"))
    (who,) = blocks("python", section("Say who is who"))
    (html,) = blocks("html", section("Put the chat on your pages"))
    (token,) = blocks("python", section("Put the chat on your pages"))
    assert "redis://localhost:6379/0" in who
    who = who.replace('"redis://localhost:6379/0"', 'os.environ["REDIS_URL"]')
    parts = (BEFORE, who, making, AFTER.format(html=html, token=token))
    (folder / "app.py").write_text("\n\n".join(parts))


def commands() -> list[str]:
    """What the README has one type to create the tables and bring in articles."""
    (lines,) = blocks("console", section("Create the tables"))
    return lines.splitlines()


def serving() -> list[list[str]]:
    """The options of gunicorn that it names: with threads, and with gevent."""
    found = re.search(r"use `(--worker-class gthread --threads \d+)` or `(\w+)`, and `(--config \S+)`", README)
    assert found is not None
    threads, other, config = found.groups()
    return [[*shlex.split(threads), *shlex.split(config)], ["--worker-class", other, *shlex.split(config)]]
