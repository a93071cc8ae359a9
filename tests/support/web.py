"""A request to a web server, and what came back, as it came: no redirect is followed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPMessage
    text: str


def get(url: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return send(url, "GET", path, headers or {})


def post(url: str, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
    """Send a form, from a page of the same origin."""
    return send(url, "POST", path, {"Origin": url, **(headers or {})}, form)


def send(
    url: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    form: Mapping[str, str] | None = None,
    body: str | None = None,
) -> Answer:
    address = urlsplit(url)
    sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
        connection.request(method, path, urlencode(form or {}) if body is None else body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode(errors="replace"))
