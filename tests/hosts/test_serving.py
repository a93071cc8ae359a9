"""Hosts served by gunicorn with threads and with gevent: probes, pages, sockets, and an end within three seconds."""

from __future__ import annotations

import re
import signal
from html import unescape
from pathlib import Path

import pytest

from tests.hosts import readme
from tests.hosts.conftest import DESK, HARBOUR, Office, Visitor, token_of
from tests.support import processes, projects
from tests.support.processes import Process
from tests.support.web import get, post
from tests.support.websocket import Chat, Line

SERVERS = pytest.mark.parametrize("options", readme.serving(), ids=["threads", "gevent"])
ARTICLE = """---
title: Swap a saddle
---

## At the shop

We swap a saddle for free within two weeks of buying it. Bring the old saddle and the receipt to the counter.
"""


@SERVERS
def test_a_grown_host_behind_a_proxy(office: Office, options: list[str]) -> None:
    env = {**processes.environment(office.database_url, office.redis_url), **office.env()}
    with processes.web_server(env, options=options, app=f"{HARBOUR}()") as server:
        assert '"status":"ok"' in Visitor(server.url).get(f"{DESK}/health").text
        ada, bo = (Visitor(server.url).sign_in(email) for email in ("ada@harbour", "bo@ship"))
        assert "<h1>" in ada.get(f"{DESK}/").text
        with ada.live() as live, bo.chat() as chat:
            live.expect("refetch")
            chat.join(token_of(bo))
            number = chat.say("Is the harbour open?")["conversation"]
            live.expect("message", conversation_id=number)
            ends(server, live, chat)


def ends(server: Process, *lines: Line) -> None:
    """Told to stop, it says goodbye to every socket in a way that brings clients back, and is gone.

    Long before the minute that gunicorn would wait for sockets that nobody ends.
    """
    server.popen.send_signal(signal.SIGTERM)
    assert [line.closed() for line in lines] == [1012] * len(lines)
    assert server.popen.wait(20) == 0
    assert "Traceback" not in server.output


# --- the README, and nothing else -----------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, empty_database_url: str, redis_url: str) -> tuple[Path, dict[str, str]]:
    """A folder with an app of the README's lines, its tables made and its articles brought in by its commands."""
    readme.write_app(tmp_path)
    env = {
        **projects.environment(processes.environment(empty_database_url, redis_url)),
        "SECRET_KEY": "a secret for the tests of a shop",
        "DATABASE_URL": empty_database_url,
        "REDIS_URL": redis_url,
    }
    articles = tmp_path / "help-articles"
    articles.mkdir()
    (articles / "saddles.md").write_text(ARTICLE)
    for command in ("flask db init", *readme.commands()):
        projects.run(command, tmp_path, env)
    return tmp_path, env


@SERVERS
def test_a_host_of_the_readmes_lines_answers_a_customer(shop: tuple[Path, dict[str, str]], options: list[str]) -> None:
    folder, env = shop
    (command,) = readme.blocks("console", readme.section("Put the chat on your pages"))
    assert command == "flask cairnloop worker"  # what `processes.worker` runs
    with (
        processes.web_server(env, options=options, app="app:app", folder=folder) as server,
        processes.worker(env, app="app", folder=folder) as worker,
    ):
        assert get(server.url, "/support/health").text == '{"status":"ok"}\n'
        assert get(server.url, "/support/").headers["Location"] == "/login?next=%2Fsupport%2F"
        kim, lou = (signed_in(server, name) for name in ("kim", "lou"))
        page = get(server.url, "/", lou).text
        found = re.search(r'<script src="(/support/widget\.js)" data-token="([^"]+)"', page)
        assert found is not None
        assert get(server.url, found[1]).status == 200
        with Line(server.url, "/support/live", headers=kim) as live, Chat(server.url) as chat:
            live.expect("refetch")
            chat.join(unescape(found[2]))
            number = chat.say("Do you swap a saddle that does not fit me for another one?")["conversation"]
            live.until(lambda frame: frame["type"] == "draft" and frame.get("state") == "ready", seconds=40)
            page = get(server.url, f"/support/conversations/{number}", kim).text
            assert "Swap a saddle" in page
            action = re.search(r'action="(/support/conversations/\d+/drafts/\d+/approve)"', page)
            assert action is not None
            assert post(server.url, action[1], {"seen": "1"}, kim).status == 303
            assert "within two weeks" in chat.expect("message", kind="reply")["body"]
            ends(server, live, chat)
        worker.popen.terminate()
        assert worker.popen.wait(20) == 0


def signed_in(server: Process, name: str) -> dict[str, str]:
    """The session of somebody who has just signed in."""
    found = re.search(r"session=[^;]+", get(server.url, f"/sign-in/{name}").headers["Set-Cookie"])
    assert found is not None
    return {"Cookie": found[0]}


def test_one_line_alone_lets_nobody_in_and_breaks_nothing(
    tmp_path: Path, fresh_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 2 without the others: no key is set, and Redis is not where the default says."""
    (making,) = readme.blocks("python", readme.section("Make the object"))
    code = f"{readme.BEFORE}\n{making}"
    monkeypatch.setenv("SECRET_KEY", "a secret for the tests of a shop")
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    scope: dict[str, object] = {"__name__": "shop"}
    exec(compile(code, "app.py", "exec"), scope)  # noqa: S102 - the README's own lines
    app = scope["app"]
    client = app.test_client()  # type: ignore[attr-defined]
    assert client.get("/sign-in/kim").status_code == 302
    console = client.get("/support/")
    assert console.status_code == 503
    assert "CAIRNLOOP_OPERATOR_LOADER" in console.text
    assert client.get("/support/health").status_code == 200
    assert client.get("/support/ready").status_code == 200
    assert client.get("/support/widget").status_code == 200
    with app.app_context():  # type: ignore[attr-defined]
        app.extensions["sqlalchemy"].engine.dispose()  # type: ignore[attr-defined]
