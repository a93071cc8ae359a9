"""The configuration is checked at start: a mistake names its key and never shows a secret."""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_cairnloop import Cairnloop
from flask_cairnloop.config import KEYS, RATE_LIMITS, Settings
from flask_cairnloop.errors import ConfigurationError


@dataclass(frozen=True)
class Embedder:
    """One that never embeds."""

    model: str
    dimensions: int = 2

    def embed(self, texts: Any, *, kind: str) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("CAIRNLOOP_SHEMA", "desk", "Did you mean CAIRNLOOP_SCHEMA"),
        ("CAIRNLOOP_NOTHING_LIKE_IT", 1, "is not a key"),
        ("CAIRNLOOP_MESSAGE_LIMIT", "many", "is str ('many'); it must be int"),
        ("CAIRNLOOP_MESSAGE_LIMIT", True, "is bool (True); it must be int"),
        ("CAIRNLOOP_MESSAGE_LIMIT", 0, "between 1 and 100000"),
        ("CAIRNLOOP_SCHEMA", "public", "a schema of their own"),
        ("CAIRNLOOP_SCHEMA", 'x"; DROP', "letters, digits"),
        ("CAIRNLOOP_SCHEMA", "x$do$y", "letters, digits"),
        ("CAIRNLOOP_URL_PREFIX", "support/", 'like "/support"'),
        ("CAIRNLOOP_OPERATOR_LOADER", 42, 'a callable or "package.module:attribute"'),
        ("CAIRNLOOP_OPERATOR_LOADER", "no.such.module:thing", "cannot be imported"),
        ("CAIRNLOOP_OPERATOR_LOADER", "flask_cairnloop.config:PREFIX", "must be callable"),
        ("CAIRNLOOP_TRUSTED_ORIGINS", "https://a.example", "a list of str"),
        ("CAIRNLOOP_TRUSTED_ORIGINS", ["https://a.example/path"], "is not an origin"),
        ("CAIRNLOOP_EMBEDDER", object(), "needs `model`"),
        ("CAIRNLOOP_RATE_LIMITS", "30/minute", "a mapping of str to str or None"),
        ("CAIRNLOOP_RATE_LIMITS", {"messages": 30}, "a mapping of str to str or None"),
        ("CAIRNLOOP_RATE_LIMITS", {"mesages": "30/minute"}, 'no "mesages", only messages'),
        ("CAIRNLOOP_RATE_LIMITS", {"messages": "30 a minute"}, 'write e.g. "30/minute"'),
        ("CAIRNLOOP_RATE_LIMITS", {"messages": "0/minute"}, 'write e.g. "30/minute"'),
        ("CAIRNLOOP_RATE_LIMITS", {"messages": "1/second; 9/minute"}, 'write e.g. "30/minute"'),
        ("CAIRNLOOP_SOCKET_LIMIT", -1, "between 0 and 100000"),
        ("CAIRNLOOP_EMBEDDER", Embedder(model="m" * 201), "a `model` of 201 characters"),
        ("CAIRNLOOP_EMBEDDER", Embedder(model=""), "a `model` of 0 characters"),
        ("CAIRNLOOP_FILE_STORAGE", "uploads", "a folder in full"),
        ("CAIRNLOOP_FILE_STORAGE", 7, "an address, a folder, a callable"),
        ("CAIRNLOOP_FILE_STORAGE", "no.such.module:thing", "cannot be imported"),
        ("CAIRNLOOP_FILE_STORAGE_OPTIONS", ["key"], "a mapping of str to anything"),
        ("CAIRNLOOP_FILE_TYPES", ["image/svg+xml"], "cannot be told by its content"),
        ("CAIRNLOOP_GROUNDING_STRONG", 1.5, "between 0 and 1"),
        ("CAIRNLOOP_GROUNDING_STRONG", math.nan, "between 0 and 1"),
        ("CAIRNLOOP_HOOK_TIMEOUT", 0, "between 0.05 and 60"),
        ("CAIRNLOOP_HOOK_TIMEOUT", 61.0, "between 0.05 and 60"),
        ("CAIRNLOOP_HOOK_TIMEOUT", math.inf, "between 0.05 and 60"),
        ("CAIRNLOOP_HOOK_TIMEOUT", 10**400, "between 0.05 and 60"),
        ("CAIRNLOOP_DRAFT_DELAY", -0.5, "between 0 and 3600"),
        ("CAIRNLOOP_DRAFT_DELAY", math.inf, "between 0 and 3600"),
        ("CAIRNLOOP_DRAFT_DELAY", math.nan, "between 0 and 3600"),
        ("CAIRNLOOP_DRAFT_GREETING", None, "it must be str"),
        ("CAIRNLOOP_DRAFT_GREETING", "Hi {first_name},", "only {name} may stand in braces"),
        ("CAIRNLOOP_DRAFT_GREETING", "Hi {name", "only {name} may stand in braces"),
        ("CAIRNLOOP_DRAFT_GREETING", "Hi,\nyou", "one line"),
        ("CAIRNLOOP_DRAFT_CLOSING", "Bye {name}", "nothing may stand in braces"),
        ("CAIRNLOOP_DRAFT_CLOSING", "Bye [1]", "the mark of a source"),
        ("CAIRNLOOP_DRAFT_CLOSING", "x" * 301, "at most 300 characters"),
        ("CAIRNLOOP_REOPEN_WINDOW", 10**15, "between 0 and 315360000"),
        ("CAIRNLOOP_GROUNDING_PARTIAL", 0.99, "must not be above"),
    ],
)
def test_a_mistake_fails_at_start_and_names_its_key(key: str, value: Any, says: str) -> None:
    app = Flask("host")
    app.config.update({"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://nowhere/x", key: value})
    SQLAlchemy(app)
    with pytest.raises(ConfigurationError) as wrong:
        Cairnloop(app)
    assert key in str(wrong.value)
    assert says in str(wrong.value)


@pytest.mark.parametrize(
    "value",
    [
        [b"redis://:hunter2@host"],
        "hunter2@localhost:6379",
        ":hunter2@localhost:6379/0",
        "http://:hunter2@localhost",
        "redis://:hunter2@localhost:port",
        "redis://:hunter2@[localhost",
        "redis://:hunter2@localhost?db=hunter2",
        "",
    ],
)
def test_a_secret_that_cannot_work_fails_at_start_and_is_never_shown(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="CAIRNLOOP_REDIS_URL") as wrong:
        Settings.load({"CAIRNLOOP_REDIS_URL": value})
    assert "hunter2" not in "".join(traceback.format_exception(wrong.value))


@pytest.mark.parametrize("value", ["redis://h:1/2?protocol=3", "rediss://u:p@h", "unix:///run/redis.sock?db=3"])
def test_every_kind_of_address_of_redis_is_taken(value: str) -> None:
    assert Settings.load({"CAIRNLOOP_REDIS_URL": value}).redis_url == value


def test_a_mapping_keeps_the_defaults_of_what_it_leaves_out() -> None:
    settings = Settings.load({"CAIRNLOOP_RATE_LIMITS": {"messages": None, "frames": "5/second"}})
    assert settings.rate_limits == {**RATE_LIMITS, "messages": None, "frames": "5/second"}
    assert Settings.load({}).rate_limits["messages"] == "30/minute"


def test_what_is_missing_or_in_the_wrong_order_is_said() -> None:
    with pytest.raises(ConfigurationError, match=r"SQLAlchemy\(app\)"):
        Cairnloop(Flask("bare"))
    with pytest.raises(ConfigurationError, match=r"db\.init_app\(app\)"):
        Cairnloop(Flask("early"), SQLAlchemy())
    app = Flask("sqlite")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    SQLAlchemy(app)
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        Cairnloop(app)


def test_one_object_may_serve_the_apps_of_a_factory_and_no_app_gets_two(app: Flask, database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="already"):
        Cairnloop(app)
    db, cairnloop, apps = SQLAlchemy(), Cairnloop(), []
    for schema in ("one", "two"):
        made = Flask(schema)
        made.config.update(SQLALCHEMY_DATABASE_URI=database_url, CAIRNLOOP_SCHEMA=schema)
        db.init_app(made)
        cairnloop.init_app(made)
        apps.append(made)
    assert [made.extensions["cairnloop"].settings.schema for made in apps] == ["one", "two"]


def test_every_key_is_documented() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    missing = [key.name for key in KEYS if f"CAIRNLOOP_{key.name}" not in readme and f"`{key.name}`" not in readme]
    assert missing == []
