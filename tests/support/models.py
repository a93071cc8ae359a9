"""A server that speaks as a vendor of language models does, and says what a test tells it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from flask_cairnloop import AnthropicDraftGenerator, OpenAIDraftGenerator, Price
from flask_cairnloop.drafting.model_engine import ModelDraftGenerator

KEY = "sk-test-of-nobody-4711"
_made: list[ModelDraftGenerator] = []


@dataclass
class Said:
    """One answer of the server.

    Args:
        body: JSON to answer with, or bytes as they are.
        wait: seconds before it answers; it is never waited for longer than the test needs.
        drip: seconds between the bytes of the body.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    wait: float = 0.0
    drip: float = 0.0


@dataclass
class Vendor:
    """What differs between the two interfaces."""

    name: str
    made: Callable[..., ModelDraftGenerator]
    path: str
    suffix: str = ""

    def engine(self, url: str, **arguments: Any) -> ModelDraftGenerator:
        given = {"price": Price(input=3, output=15, cached=0.3), "timeout": 5, "retries": 0, **arguments}
        engine = self.made(api_key=KEY, model="model-1", base_url=url + self.suffix, **given)
        _made.append(engine)
        return engine

    def asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The data of a request, out of its fence."""
        text = request["messages"][-1]["content"]
        assert (text.count("<data>"), text.count("</data>")) == (1, 1), "the fence can be closed from inside"
        return json.loads(text.removeprefix("<data>\n").removesuffix("\n</data>"))

    def says(self, form: Any, *, stop: str = "end", cached: int = 0) -> Said:
        """A whole answer with a form filled in. ``stop`` is ``"end"``, ``"length"`` or ``"refusal"``."""
        text = form if isinstance(form, str) else json.dumps(form)
        if self.name == "anthropic":
            reasons = {"end": "end_turn", "length": "max_tokens", "refusal": "refusal"}
            usage = {"input_tokens": 1000 - cached, "cache_read_input_tokens": cached, "output_tokens": 100}
            return Said(
                {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "model": "model-1",
                    "content": [{"type": "text", "text": text}],
                    "stop_reason": reasons[stop],
                    "stop_sequence": None,
                    "usage": usage,
                }
            )
        reasons = {"end": "stop", "length": "length", "refusal": "stop"}
        refusal = "I cannot help with that." if stop == "refusal" else None
        return Said(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "model-1",
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": reasons[stop],
                        "message": {"role": "assistant", "content": None if refusal else text, "refusal": refusal},
                    }
                ],
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                    "total_tokens": 1100,
                    "prompt_tokens_details": {"cached_tokens": cached},
                },
            }
        )


VENDORS = (
    Vendor("anthropic", AnthropicDraftGenerator, "/v1/messages"),
    Vendor("openai", OpenAIDraftGenerator, "/v1/chat/completions", "/v1"),
)


class Server:
    """Answers each request by the next of its ``script``, the last one again and again."""

    def __init__(self) -> None:
        self.script: list[Said | Callable[[dict[str, Any]], Said]] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    @property
    def sent(self) -> str:
        """Everything that ever reached it, as one text."""
        return json.dumps(self.requests, ensure_ascii=False) + repr(self.headers)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Said:
        request = json.loads(body)
        with self.lock:
            self.requests.append(request)
            self.headers.append(headers)
            self.paths.append(path)
            step = self.script[min(len(self.requests), len(self.script)) - 1]
        return step(request) if callable(step) else step


@contextmanager
def running() -> Iterator[Server]:
    """A server on a port of this machine."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said = server.answer(self.path, dict(self.headers), body)
            server.over.wait(said.wait)
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            try:
                self.send_response(said.status)
                for name, value in {"Content-Type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                for piece in [data[at : at + 1] for at in range(len(data))] if said.drip else [data]:
                    if said.drip and server.over.is_set():
                        return
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(said.drip)
            except OSError:  # who asked has gone
                self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        while _made:
            _made.pop().close()
        http.shutdown()
        http.server_close()
