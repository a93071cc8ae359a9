"""Unsafe requests and socket handshakes come from pages of this site, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

HANDSHAKE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


@pytest.mark.parametrize("path", ["/support/live", "/support/widget/socket"])
@pytest.mark.parametrize(
    "origin", [None, "null", "https://shop.example", "http://localhost:81", "http://localhost.evil.example"]
)
def test_a_handshake_from_elsewhere_is_refused(make_app: Callable[..., Flask], path: str, origin: str | None) -> None:
    """A page that may embed the widget is no exception: the widget's frame, which opens the socket, is ours."""
    client = make_app(WIDGET_ORIGINS=["https://shop.example"]).test_client()
    headers = {**HANDSHAKE, "X-Operator": "mina", **({"Origin": origin} if origin else {})}
    assert client.get(path, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 404),
        ({"Origin": "http://localhost"}, 404),
        ({"Origin": "https://desk.example"}, 404),
    ],
)
def test_an_unsafe_request_needs_an_origin_of_ours(
    make_app: Callable[..., Flask], headers: dict[str, str], status: int
) -> None:
    client = make_app(TRUSTED_ORIGINS=["https://desk.example"]).test_client()
    answer = client.post("/support/conversations/999999/resolve", headers={"X-Operator": "mina", **headers})
    assert answer.status_code == status
