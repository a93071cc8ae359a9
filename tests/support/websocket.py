"""A WebSocket client that behaves as a browser's does."""

from __future__ import annotations

from simple_websocket import Client


class BrowserClient(Client):  # type: ignore[misc]  # simple-websocket has no types
    """Names the port in ``Host``, and hears a server that speaks at once."""

    def handshake(self) -> None:
        self.host = f"{self.host}:{self.port}"
        super().handshake()
        # What came in one piece with the answer to the handshake would else be heard with the next frame only.
        self._handle_events()
