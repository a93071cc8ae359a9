"""A browser that gets no WebSocket through, as behind many a proxy, until the test says that it does."""

from __future__ import annotations

from playwright.sync_api import Page

_SCRIPT = """(() => {
  const Real = WebSocket;
  if (window === top) window.socketsBlocked = true;
  window.WebSocket = function (...address) {
    if (!top.socketsBlocked) return new Real(...address);
    const socket = Object.assign(new EventTarget(), { readyState: 0, send() {}, close() {} });
    setTimeout(() => {
      socket.readyState = 3;
      const end = new CloseEvent("close", { code: 1006 });
      socket.onclose?.(end);
      socket.dispatchEvent(end);
    }, 10);
    return socket;
  };
  Object.assign(window.WebSocket, { CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3 });
})()"""


def block(page: Page) -> None:
    """Let no WebSocket of pages and frames that are opened from now on connect."""
    page.add_init_script(_SCRIPT)


def unblock(page: Page) -> None:
    page.evaluate("window.socketsBlocked = false")
