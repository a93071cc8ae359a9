/*
 * The chat on a page of the host, by one tag:
 *
 *   <script src="/support/widget.js" data-token="…" async></script>
 *
 * data-token      who the customer is, signed by the host
 * data-token-url  where on the host's own origin a fresh one is had, as {"token": "…"}, when that one has run out
 * data-title      heading of the chat
 * data-open       show it opened from the start
 *
 * From scripts: cairnloop.open(), cairnloop.close(), cairnloop.setToken(token).
 * Styles are set through the CSSOM and elements through the DOM, so a strict content security policy holds.
 */
(() => {
  "use strict";

  const tag = document.currentScript;
  if (!tag || window.cairnloop) return;

  const address = new URL("widget", tag.src);
  const options = tag.dataset;
  const title = options.title || "Chat";
  let token = options.token || "";
  let isOpen = false;
  let unread = 0;

  const STYLES = `
    :host { all: initial; }
    .launcher {
      position: fixed; z-index: 2147483000; inset-block-end: 24px; inset-inline-end: 24px;
      display: grid; place-items: center; inline-size: 56px; block-size: 56px; padding: 0; border: 0; border-radius: 50%;
      background: #24302A; color: #F6F4EF; cursor: pointer;
      box-shadow: 0 2px 4px rgb(24 33 28 / .08), 0 12px 32px rgb(24 33 28 / .22);
      transition: background-color 120ms;
    }
    .launcher:hover { background: #33423A; }
    .launcher:focus-visible { outline: 2px solid #A3461B; outline-offset: 3px; }
    .launcher svg { inline-size: 26px; block-size: 26px; fill: none; stroke: currentColor; stroke-width: 1.5;
      stroke-linecap: round; stroke-linejoin: round; }
    .badge {
      position: absolute; inset-block-start: -3px; inset-inline-end: -3px; min-inline-size: 22px; block-size: 22px;
      box-sizing: border-box; padding: 0 6px; border-radius: 11px; background: #A3461B; color: #FFFFFF;
      font: 600 12px/22px system-ui, sans-serif; font-variant-numeric: tabular-nums; text-align: center;
      box-shadow: 0 0 0 2px #FDFCFA;
    }
    .panel {
      position: fixed; z-index: 2147483001; inset-block-end: 24px; inset-inline-end: 24px;
      inline-size: 392px; block-size: min(812px, calc(100vh - 48px)); block-size: min(812px, calc(100dvh - 48px));
      overflow: hidden; border-radius: 16px; background: #FDFCFA;
      box-shadow: 0 0 0 1px #E4E1D9, 0 2px 4px rgb(24 33 28 / .04), 0 12px 32px rgb(24 33 28 / .14);
      transition: opacity 200ms cubic-bezier(.2, .7, .2, 1), transform 200ms cubic-bezier(.2, .7, .2, 1);
    }
    .panel.closed { visibility: hidden; opacity: 0; transform: translateY(6px); transition-property: none; }
    iframe { display: block; inline-size: 100%; block-size: 100%; border: 0; color-scheme: light dark; }
    [hidden] { display: none; }
    @media (max-width: 767px) {
      .launcher { inset-block-end: max(16px, env(safe-area-inset-bottom)); inset-inline-end: 16px; }
      .panel { inset: 0; inline-size: 100%; block-size: 100%; border-radius: 0; box-shadow: none; }
    }
    @media (prefers-color-scheme: dark) {
      .launcher { background: #3B443D; color: #F3F1EB; }
      .launcher:hover { background: #49544B; }
      .launcher:focus-visible { outline-color: #F0A878; }
      .badge { background: #E08F5C; color: #1F1006; box-shadow: 0 0 0 2px #1C1D1A; }
      .panel { background: #1C1D1A;
        box-shadow: 0 0 0 1px #2A2B27, 0 2px 4px rgb(0 0 0 / .3), 0 16px 40px rgb(0 0 0 / .5); }
    }
    @media (prefers-reduced-motion: reduce) { .launcher, .panel { transition: none; } .panel.closed { transform: none; } }
    @media print { .launcher, .panel { display: none; } }
  `;

  const make = (name, properties) => Object.assign(document.createElement(name), properties);

  function icon() {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 20 20");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", "M3.5 4.5h13v9.2H10L6.2 17v-3.3H3.5zM7 8h6M7 10.700h3.500");
    svg.append(path);
    return svg;
  }

  const host = make("div");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLES);
  root.adoptedStyleSheets = [sheet];
  const launcher = make("button", { type: "button", className: "launcher" });
  const badge = make("span", { className: "badge", hidden: true });
  badge.setAttribute("aria-hidden", "true");
  launcher.append(icon(), badge);
  const panel = make("div", { className: "panel closed" });
  const frame = make("iframe", { title, src: address.href });
  panel.append(frame);
  root.append(launcher, panel);

  const tell = (message) => frame.contentWindow?.postMessage({ cairnloop: true, ...message }, address.origin);

  function label() {
    const news = unread === 1 ? ", 1 new message" : unread ? `, ${unread} new messages` : "";
    launcher.setAttribute("aria-label", `Open ${title}${news}`);
    launcher.setAttribute("aria-expanded", String(isOpen));
    badge.hidden = unread === 0;
    badge.textContent = unread > 99 ? "99+" : String(unread);
  }

  function show(takeFocus) {
    isOpen = true;
    panel.classList.remove("closed");
    launcher.hidden = true;
    label();
    if (takeFocus) frame.focus();
    tell({ type: "open", focus: takeFocus });
  }

  function hide() {
    if (!isOpen) return;
    isOpen = false;
    panel.classList.add("closed");
    launcher.hidden = false;
    label();
    tell({ type: "closed" });
    launcher.focus();
  }

  async function freshToken() {
    if (!options.tokenUrl) return "";
    const url = new URL(options.tokenUrl, document.baseURI);
    if (url.origin !== location.origin) return "";
    try {
      const answer = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
      return answer.ok ? String((await answer.json()).token || "") : "";
    } catch {
      return null; // not reached: worth another try, unlike a refusal
    }
  }

  async function renew(stale) {
    if (token === stale) {
      const fresh = await freshToken();
      if (fresh === null) return void setTimeout(() => token === stale && renew(stale), 5_000 + Math.random() * 5_000);
      token = fresh;
    }
    tell(token ? { type: "token", token } : { type: "refused" });
  }

  window.addEventListener("message", (event) => {
    if (event.source !== frame.contentWindow || event.origin !== address.origin || !event.data?.cairnloop) return;
    const { type } = event.data;
    if (type === "ready") {
      tell({ type: "start", title: options.title || "", open: isOpen });
      if (token) tell({ type: "token", token });
      else renew(token);
    } else if (type === "stale") renew(String(event.data.token));
    else if (type === "close") hide();
    else if (type === "unread") {
      unread = Number(event.data.count) || 0;
      label();
    }
  });
  launcher.addEventListener("click", () => show(true));

  window.cairnloop = {
    open: () => show(true),
    close: hide,
    setToken: (value) => {
      token = String(value);
      tell({ type: "token", token });
    },
  };

  function place() {
    label();
    document.body.append(host);
    if ("open" in options) show(false);
  }
  if (document.body) place();
  else document.addEventListener("DOMContentLoaded", place);
})();
