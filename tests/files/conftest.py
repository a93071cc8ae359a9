"""A desk whose files lie in memory, and bytes of each kind."""

from __future__ import annotations

import io
import struct
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from tests.conftest import Client


def png(width: int = 40, height: int = 30, colour: int = 90) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (width, height), (colour, 40, 40)).save(made, "PNG")
    return made.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A few bytes that say they are a picture of so many pixels."""
    data = bytearray(png())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    """Each test has a storage of its own, on another filesystem than a disk."""
    return {**config, "FILE_STORAGE": f"memory://{uuid.uuid4().hex}"}


@pytest.fixture
def make_client() -> Callable[[Flask, str], FlaskClient]:
    def make(app: Flask, operator_id: str = "") -> FlaskClient:
        app.test_client_class = Client
        client = app.test_client()
        client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_X_OPERATOR=operator_id)
        return client

    return make


@pytest.fixture
def send(app: Flask, make_client: Callable[[Flask, str], FlaskClient]) -> Callable[..., TestResponse]:
    """``send(data, name)`` uploads as Mina's editor does."""

    def send(data: bytes, name: str = "plan.png", as_: str = "mina", of: Flask = app) -> TestResponse:
        form = {"file": (io.BytesIO(data), name, "image/png")}  # the claim is always the same
        return make_client(of, as_).post("/support/knowledge/files", data=form)

    return send
