"""The loader and the frame page: headers, caching, weight."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable

from flask import Flask
from flask.testing import FlaskClient

from flask_cairnloop.resources import folder


def test_the_loader_is_cached_and_asked_for_by_its_etag(client: FlaskClient) -> None:
    with client.get("/support/widget.js") as first:
        assert first.status_code == 200
        assert first.mimetype == "text/javascript"
        assert "max-age=300" in first.headers["Cache-Control"]
        assert first.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    with client.get("/support/widget.js", headers={"If-None-Match": first.headers["ETag"]}) as again:
        assert again.status_code == 304


def test_the_frame_may_be_shown_by_named_pages_only(make_app: Callable[..., Flask]) -> None:
    client = make_app(WIDGET_ORIGINS=["https://shop.example"]).test_client()
    answer = client.get("/support/widget")
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self' https://shop.example" in policy
    assert "'unsafe-inline'" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert 'data-origins="[&#34;http://localhost&#34;, &#34;https://shop.example&#34;]"' in answer.text


def test_the_frame_has_nothing_inline_and_knows_nobody(client: FlaskClient) -> None:
    html = client.get("/support/widget").text
    assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", html)
    assert "<title>Support</title>" in html


def test_all_of_it_weighs_less_than_25_kilobytes(client: FlaskClient) -> None:
    files = sorted((folder("static") / "cairnloop" / "widget").iterdir())
    weight = sum(len(gzip.compress(file.read_bytes())) for file in files)
    weight += len(gzip.compress(client.get("/support/widget").data))
    assert weight <= 25_000, weight
