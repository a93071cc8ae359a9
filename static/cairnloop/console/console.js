/* The console's own script. Pages are whole without it for reading; it adds what HTML cannot: live refetching,
   keyboard, kept text, toasts. No eval, no inline handlers: everything hangs on data attributes and delegation. */
(() => {
  "use strict";

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const prefix = document.body.dataset.prefix || "";
  const openConversation = () => $("#work")?.dataset.conversation || "";
  const list = () => $("#list");

  /* ---------- the reader's time zone: the server writes times in it from the next request on ---------- */

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && zone !== document.documentElement.dataset.zone && !sessionStorage.getItem("cairnloop:zone")) {
    sessionStorage.setItem("cairnloop:zone", zone);
    document.cookie = `cairnloop_zone=${encodeURIComponent(zone)}; path=/; max-age=31536000; samesite=lax`;
    location.reload();
  }

  /* ---------- small things that tick or float ---------- */

  const UNITS = [[525600, "y"], [10080, "w"], [1440, "d"], [60, "h"]];

  function ago(moment) {
    const minutes = Math.max(0, Math.floor((Date.now() - moment) / 60000));
    if (minutes < 1) return "now";
    const [size, unit] = UNITS.find(([size]) => minutes >= size) || [1, "m"];
    return Math.floor(minutes / size) + unit;
  }

  /* The same words as the server's. */
  function left(moment) {
    const minutes = Math.floor(Math.abs(moment - Date.now()) / 60000);
    if (minutes < 1) return moment > Date.now() ? "due now" : "late";
    const [days, hours, rest] = [Math.floor(minutes / 1440), Math.floor(minutes % 1440 / 60), minutes % 60];
    const [large, small] = days ? [`${days}d`, hours && `${hours}h`] : hours ? [`${hours}h`, rest && `${rest}m`] : [`${rest}m`, 0];
    return `${large}${small ? ` ${small}` : ""} ${moment > Date.now() ? "left" : "late"}`;
  }

  function tick() {
    for (const time of $$("time[data-ago]")) {
      const words = ago(Date.parse(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
    }
    for (const time of $$("time[data-due]")) {
      const words = left(Date.parse(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
      const late = Date.parse(time.dateTime) <= Date.now() ? "yes" : "no";
      const chip = time.closest(".due");
      if (chip.dataset.late !== late) chip.dataset.late = late;
    }
  }
  setInterval(tick, 30000);

  /* What no event tells: that nobody works any more, or works again. */
  setInterval(() => {
    if (document.hidden) return;
    refetch($("#outage"), 0);
    refetch($("#settings"), 0);
  }, 15000);

  function toast(text, tone = "info", { undo, open, seconds = 6, conversation } = {}) {
    if (tone === "error" && $$("#toasts > .is-error > span").some((words) => words.textContent === text)) return;
    const box = document.createElement("div");
    box.className = "toast" + (tone === "error" ? " is-error" : "");
    box.setAttribute("role", tone === "error" ? "alert" : "status");
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => box.remove());
    box.append(words);
    const button = (label, does) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      made.addEventListener("click", () => { box.remove(); does(); });
      box.append(made);
    };
    if (undo && conversation) {
      button("Undo", () => takeBack(undo, conversation));
      box.dataset.undo = "";
    } else if (undo) {
      button("Undo", () => putBack(undo));
    }
    if (open) button("Open", () => location.assign(open));
    box.append(close);
    $("#toasts")?.append(box);
    if (tone === "error") return; // errors stay until they are closed
    const leave = () => !undo && box.matches(":hover, :focus-within") ? setTimeout(leave, 1500) : box.remove();
    setTimeout(leave, (undo && !conversation ? 12 : seconds) * 1000);
  }

  /* Takes back what was just done to several; the answer is the list as it is then. */
  function putBack(path) {
    const values = { list: list()?.dataset.query || "", ...tokenField() };
    htmx.ajax("POST", path, { target: "#list", swap: "innerMorph", values });
  }

  /* Where its conversation is not open any more, it is opened again with the words in its reply field. */
  async function takeBack(path, conversation) {
    if (String(conversation) === openConversation()) {
      htmx.ajax("POST", path, { target: "#timeline", swap: "innerMorph", values: tokenField() });
      return;
    }
    const headers = { "HX-Request": "true", "HX-Request-Type": "partial" };
    const answer = await fetch(path, { method: "POST", body: new URLSearchParams(tokenField()), headers }).catch(() => null);
    const told = JSON.parse(answer?.headers.get("HX-Trigger") || "{}")["cairnloop:toast"];
    if (!answer?.ok) {
      return toast(told?.text || (answer ? "It was not taken back. Open the conversation to see what became of it."
        : "No answer from the server. Whether it was taken back is in the conversation."), "error", { open: `${prefix}/conversations/${conversation}` });
    }
    if (told) toast(told.text, told.tone);
    const row = $(`#row-${conversation} .row`);
    if (row) row.click();
    else location.assign(`${prefix}/conversations/${conversation}`);
  }

  /* The conversation after this one in the list that the operator came from; without one, the list. */
  function next(conversation) {
    if (String(conversation) !== openConversation()) return;
    const rows = $$("#rows > [data-row]:not([data-gone])");
    const here = rows.findIndex((row) => row.dataset.row === String(conversation));
    const row = rows[here + 1] || rows.find((row) => row.dataset.row !== String(conversation));
    const link = row ? $(".row", row) : $("#thread-head .back");
    link?.click();
    if (row) link.scrollIntoView({ block: "nearest" });
  }

  function title() {
    const waiting = Number($("#rail-count")?.dataset.waiting || 0);
    const plain = document.title.replace(/^\(\d+\+?\) /, "");
    const words = waiting ? `(${waiting > 999 ? "999+" : waiting}) ${plain}` : plain;
    if (document.title !== words) document.title = words;
    const icon = $("link[rel=icon]");
    const mark = icon && icon.dataset[waiting || Number($("#bell-count")?.dataset.unread) ? "unread" : "plain"];
    if (mark && icon.getAttribute("href") !== mark) icon.href = mark;
  }

  /* ---------- the host's form token runs out while a page stays open: the newest one goes with every form ---------- */

  const formToken = () => $("#outage input[name=csrf_token]")?.value;
  const tokenField = () => formToken() ? { csrf_token: formToken() } : {};

  document.addEventListener("submit", (event) => {
    const field = event.target.elements.namedItem("csrf_token");
    if (field && formToken()) field.value = formToken();
  }, true);

  /* ---------- unsent text: the server keeps it, this tab what the server has not taken yet ---------- */

  // One origin may have several desks, and each of them a conversation of this number.
  const keptKey = (mode, conversation) => `cairnloop:${prefix}:${mode}-${conversation}`;
  const added = (kept, text) => kept.trim() ? `${kept.trimEnd()}\n\n${text}` : text;
  const tab = uuid();
  const saves = new Map(); // key -> timer of what is to be saved
  const underWay = new Map(); // key -> the save that has been sent last

  function keep(field, wait = 600) {
    keepText(field.dataset.write, field.closest("[data-conversation]").dataset.conversation, field.value, wait);
  }

  function keepText(mode, conversation, text, wait) {
    const key = keptKey(mode, conversation);
    sessionStorage.setItem(key, text);
    clearTimeout(saves.get(key));
    saves.set(key, setTimeout(save, wait, mode, conversation));
  }

  function save(mode, conversation, keepalive = false) {
    const key = keptKey(mode, conversation);
    const text = sessionStorage.getItem(key);
    clearTimeout(saves.get(key));
    saves.delete(key);
    if (text === null) return;
    const body = new URLSearchParams({ kind: mode, body: text, tab, ...tokenField() });
    // One after the other: of two that are under way, the older could come last.
    const sent = (keepalive ? Promise.resolve() : underWay.get(key) || Promise.resolve())
      .then(() => fetch(`${prefix}/conversations/${conversation}/unsent/keep`, { method: "POST", body, keepalive }))
      .then((answer) => { if (answer.ok && sessionStorage.getItem(key) === text) sessionStorage.removeItem(key); }, () => {});
    underWay.set(key, sent);
  }

  addEventListener("pagehide", () => {
    for (const key of [...saves.keys()]) save(...key.slice(`cairnloop:${prefix}:`.length).split("-"), true);
  });

  const unsent = (conversation) => fetch(`${prefix}/conversations/${conversation}/unsent`)
    .then((answer) => answer.ok ? answer.json() : {}, () => ({}));

  /* For a conversation that is not open: the text is in its reply field when it is opened again. */
  async function keepReply(conversation, text) {
    const { reply = "" } = await unsent(conversation);
    if (!reply.includes(text)) keepText("reply", conversation, added(reply, text), 0);
  }

  /* What another page of this operator wrote, or what was taken back. */
  /* What is sent next is no resend of what was. */
  function named(field) {
    field.form.elements.client_id.value = crypto.randomUUID?.() || uuid();
  }

  async function follow(conversation, focus) {
    if (String(conversation) !== openConversation()) return;
    const reply = $(`#composer[data-conversation="${conversation}"] [data-write=reply]`);
    if (focus && reply) named(reply); // what was taken back is sent as new words
    const texts = await unsent(conversation);
    for (const field of $$(`#composer[data-conversation="${conversation}"] [data-write]`)) {
      const text = texts[field.dataset.write] || "";
      const mine = sessionStorage.getItem(keptKey(field.dataset.write, conversation)) !== null;
      if (!mine && field.value !== text) field.value = text;
    }
    if (focus) write("reply");
  }

  function restore() {
    for (const field of $$("[data-write]")) {
      const kept = sessionStorage.getItem(keptKey(field.dataset.write, field.closest("[data-conversation]").dataset.conversation));
      if (kept !== null && field.value !== kept) {
        field.value = kept;
        keep(field);
      }
    }
    if ($("[data-write=note]")?.value && !$("[data-write=reply]")?.value && $("#m-note")) $("#m-note").checked = true;
  }

  function clearSent(mode, conversation) {
    const key = keptKey(mode, conversation);
    sessionStorage.removeItem(key); // also where its field is not on the page any more
    clearTimeout(saves.get(key));
    saves.delete(key);
    // The server let go of it with the sending; a save that was under way may come after.
    if (underWay.has(key)) underWay.get(key).then(() => { if (sessionStorage.getItem(key) === null) keepText(mode, conversation, "", 0); });
    underWay.delete(key);
    const field = $(`#${mode}-${conversation}`);
    if (!field) return;
    field.value = "";
    named(field);
  }

  function uuid() { // randomUUID needs a secure context; a console in a plain-http intranet has none
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  function write(mode, text) {
    const tab = $(`#m-${mode}`);
    const field = $(`[data-write=${mode}]`);
    if (!field) return;
    if (tab) tab.checked = true;
    if (text) field.value = added(field.value, text);
    keep(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  /* ---------- drafts ---------- */

  function edit(card, on) {
    const field = $(".dedit", card);
    if (!field) return;
    card.toggleAttribute("data-editing", on);
    field.hidden = field.disabled = !on;
    if (on) field.focus();
    else field.value = field.defaultValue;
  }

  /* A draft's text as the customer would read it: without the citation numbers of its card. Other brackets, such as
     items[0], are the text's own. */
  function unmarked(text, card) {
    const numbers = card?.dataset.citations?.replaceAll(" ", "|");
    if (!numbers) return text;
    const marks = `(?:\\[(?:${numbers})\\])+`;
    return text.replace(new RegExp(`^${marks}[ \\t]*|(?<=\\S)[ \\t]+${marks}`, "gm"), "");
  }

  /* ---------- the passage behind a citation number, while a pointer or the keyboard's focus rests on it ---------- */

  const CLOSE_AFTER = 250; // time to move the pointer from the number into the card
  let passage = null; // the card, in the page only while it is shown
  let cited = null; // the number that it belongs to
  let passageTimer = 0;

  function showPassage(cite) {
    clearTimeout(passageTimer);
    const source = document.getElementById(cite.dataset.source);
    if (cite === cited || !source || !HTMLElement.prototype.showPopover) return;
    hidePassage();
    if (!passage) {
      passage = document.createElement("div");
      Object.assign(passage, { id: "passage", className: "passage", popover: "manual" });
      passage.setAttribute("aria-live", "off"); // the timeline around it is a log, which would read it out twice
    }
    const title = document.createElement("p");
    title.className = "b";
    title.textContent = $(".title", source).textContent;
    passage.replaceChildren(title, $("blockquote", source).cloneNode(true));
    cite.after(passage); // its link is the next stop of the Tab key
    cite.setAttribute("aria-describedby", passage.id);
    cited = cite;
    passage.showPopover();
    placePassage();
  }

  /* Under the number, or above it where there is more room; never past the edge of the window. */
  function placePassage() {
    if (!cited) return;
    const at = cited.getBoundingClientRect();
    const size = passage.getBoundingClientRect();
    const around = $("#tl")?.getBoundingClientRect(); // gone, like the number, once another page is here
    if (!around || !at.width || at.bottom < around.top || at.top > around.bottom) return hidePassage();
    const below = at.bottom + 6;
    const fits = below + size.height <= innerHeight - 8;
    passage.style.left = `${Math.max(8, Math.min(at.left - 16, innerWidth - size.width - 8))}px`;
    passage.style.top = `${fits ? below : Math.max(8, at.top - size.height - 6)}px`;
  }

  function hidePassage() {
    clearTimeout(passageTimer);
    if (!cited) return;
    if (passage.contains(document.activeElement)) cited.focus();
    cited.removeAttribute("aria-describedby");
    cited = null;
    passage.remove();
  }

  function leavePassage() {
    const rests = cited && (cited === document.activeElement || passage.contains(document.activeElement) || passage.matches(":hover"));
    if (!rests) hidePassage();
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return; // a tap leads to the source below the text
    const cite = event.target.closest?.(".dtext .cite");
    clearTimeout(passageTimer);
    if (cite && cite !== cited) passageTimer = setTimeout(showPassage, 120, cite);
    else if (!cite && cited && !passage.contains(event.target)) passageTimer = setTimeout(leavePassage, CLOSE_AFTER);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(".dtext .cite:focus-visible")) showPassage(event.target);
    else if (cited && !passage.contains(event.target)) hidePassage();
  });
  document.addEventListener("focusout", () => {
    if (cited) passageTimer = setTimeout(leavePassage, CLOSE_AFTER);
  });
  document.addEventListener("scroll", placePassage, true);
  addEventListener("resize", placePassage);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !cited) return;
    event.stopImmediatePropagation(); // this one closes the card and nothing else
    hidePassage();
  }, true);

  /* An edited draft that the next swap would take away: its text moves into the reply, never into nothing. Not where
     the swap answers the card's own buttons (it was sent, or thrown away), nor where the answer itself keeps the text. */
  function rescueEdits(incoming, source) {
    if (incoming.includes('id="kept-')) return;
    for (const field of $$(".dedit:not([disabled])")) {
      if (field.value === field.defaultValue || incoming.includes(`id="${field.id}"`)) continue;
      const card = field.closest(".draft");
      if (card.contains(source)) continue;
      write("reply", unmarked(field.value, card));
      toast("The draft was set aside. Your version of it is in the reply field.");
    }
  }

  /* ---------- answers that come after another conversation was opened ---------- */

  function conversationOf(action) {
    const path = new URL(action, location.href).pathname.slice(prefix.length);
    return path.match(/^\/conversations\/(\d+)(?:\/|$)/)?.[1] || "";
  }

  /* The conversation that an answer is about, where another one stands in the pane that it is for; else "". */
  function leftFor(ctx, into) {
    if (!ctx.request || !["timeline", "held", "context-body"].includes(into)) return "";
    const id = conversationOf(ctx.request.action);
    return id === openConversation() ? "" : id;
  }

  /* Refused because the customer wrote again: say whom it concerns, and keep the text for their conversation. */
  function setAside(ctx, id) {
    const body = ctx.request.body?.get?.("body");
    if (body) keepReply(id, unmarked(body, ctx.sourceElement.closest(".draft")));
    const who = $(`#row-${id} .who`)?.textContent || "the other conversation";
    const what = ctx.request.action.endsWith("/resolve") ? "Not resolved for" : "Not sent to";
    toast(`${what} ${who}: the customer wrote again.`, "error");
  }

  /* ---------- live: the socket says what changed, the page fetches what it shows ---------- */

  const refetching = new Map(); // id of an element -> when it will be fetched, and the timer

  /* What is due is not put off by what comes then: on a desk that never rests it would never be fetched. */
  function refetch(element, wait = 120) {
    if (!element) return;
    const { id } = element;
    const at = performance.now() + wait;
    const due = refetching.get(id);
    if (due && due.at <= at) return;
    clearTimeout(due?.timer);
    const timer = setTimeout(() => {
      refetching.delete(id);
      const now = document.getElementById(id);
      if (now) htmx.trigger(now, "refresh");
    }, wait);
    refetching.set(id, { at, timer });
  }

  /* What tells how many wait: the inbox's views bring the rail's number with them, elsewhere it is asked for alone. */
  const counted = () => $("#views") || $("#rail-count");

  /* The list of actions and the one beside it; a field that somebody types in is left alone by the morph. */
  function refetchActions(id, wait = 120) {
    refetch($("#queue"), wait);
    refetch($("#approvals-count"), Math.max(wait, 500));
    const detail = $("#detail[data-action]");
    if (detail && (!id || String(id) === detail.dataset.action)) refetch(detail, wait);
  }

  /* The list of suggested articles and the one beside it, unless somebody is just deciding about that one. */
  function refetchReviews(id, wait) {
    refetch($("#review-list"), wait);
    const shown = $("#review");
    if (shown && (!id || String(id) === shown.dataset.suggestion) && !$("details.vmenu[open]", shown)) refetch(shown, wait);
  }

  function refetchAll() {
    refetchActions(0, 0);
    refetchReviews(0, 0);
    refetch($("#timeline"), 0);
    refetch(counted(), 0);
    refetch($("#bell-count"), 0);
    refetch($("#mentions"), 0);
    refetch($("#envelopes"), 0);
    refetch($("#envelope"), 0);
    refetch($("#home"), 0);
    if (list()) refetch(list(), 0);
  }

  const rowsToCheck = new Set();
  const rowsAsked = new Set(); // one answer at a time: of two, the older could come last
  const newcomers = new Set();
  let checking = 0;

  function checkRow(id) {
    if (!list()) return;
    rowsToCheck.add(String(id));
    checking ||= setTimeout(checkRows, 250);
  }

  function checkRows() {
    checking = 0;
    for (const id of [...rowsToCheck].filter((id) => !rowsAsked.has(id))) {
      rowsToCheck.delete(id);
      rowsAsked.add(id);
      fetchRow(id).finally(() => {
        rowsAsked.delete(id);
        if (rowsToCheck.has(id)) checkRow(id);
      });
    }
  }

  async function fetchRow(id) {
    const query = list()?.dataset.query || "";
    let answer;
    try {
      answer = await fetch(`${prefix}/inbox/rows/${id}?${query}`, {
        headers: { "HX-Request": "true" },
      });
    } catch { return; }
    if (!answer.ok || !list() || list().dataset.query !== query) return;
    const belongs = answer.headers.get("Cairnloop-In-View") === "yes";
    const row = document.getElementById(`row-${id}`);
    if (row) {
      const text = await answer.text();
      await htmx.swap({ sourceElement: row, target: row, swap: "outerMorph", text, transition: false });
      const fresh = document.getElementById(`row-${id}`);
      fresh?.toggleAttribute("data-gone", !belongs);
      mark();
      sweep();
    } else if (belongs) {
      if ($("#rows [data-row]")) newcomers.add(id);
      else refetch(list(), 0);
      pill();
    }
  }

  function pill() {
    const button = $("#pill");
    if (!button) return;
    button.hidden = !newcomers.size;
    button.textContent = `${newcomers.size} new`;
  }

  /* A row that left the view goes once it is not the open one: nothing moves under the reader's eyes before. */
  function sweep() {
    for (const row of $$("#rows > [data-gone]")) {
      if (row.dataset.row !== openConversation() && !row.contains(document.activeElement)) row.remove();
    }
  }

  function mark() {
    const id = $("#detail") ? $("#detail").dataset.action : openConversation();
    for (const link of $$("#rows .row")) {
      if (id && link.parentElement.dataset.row === id) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  let reading = "";

  function markRead() {
    const id = openConversation();
    const sequence = $("#seen")?.dataset.sequence;
    if (!id || !sequence || document.hidden || reading === `${id}:${sequence}`) return;
    reading = `${id}:${sequence}`;
    fetch(`${prefix}/conversations/${id}/read`, {
      method: "POST",
      body: new URLSearchParams({ sequence, ...tokenField() }),
    }).catch(() => { reading = ""; });
    const row = document.querySelector(`#row-${id} .row`);
    row?.classList.remove("unread");
    row?.querySelector(".dot")?.remove();
  }

  const live = {
    message(event) { changed(event); },
    draft(event) { changed(event); },
    conversation(event) { changed(event); },
    pending(event) { changed(event); },
    service_level(event) {
      changed(event);
      if (String(event.conversation_id) === openConversation()) refetch($("#context-body"));
    },
    unsent(event) { if (event.tab !== tab) follow(event.conversation_id); },
    action(event) {
      if (event.conversation_id) changed(event);
      refetchActions(event.proposal_id);
    },
    suggestion(event) {
      if (event.conversation_id) changed(event);
      refetchReviews(event.suggestion_id, 250);
    },
    outbound(event) {
      if (event.conversation_id && String(event.conversation_id) === openConversation()) refetch($("#timeline"));
      refetch($("#envelopes"), 500);
      if (String(event.envelope_id) === $("#envelope")?.dataset.envelope) refetch($("#envelope"), 250);
    },
    seen(event) {
      if (String(event.conversation_id) === openConversation()) refetch($("#timeline"));
    },
    article() {},
    watching() {},
    refetch() { refetchAll(); },
    typing(event) {
      if (String(event.conversation_id) !== openConversation()) return;
      const line = $("#typing");
      if (!line) return;
      if (event.author === "operator") return window.cairnloop.typing?.(event.name || "A colleague");
      $("[data-words]", line).textContent = `${$("#thread-head .who")?.textContent} is typing…`;
      line.hidden = false;
      clearTimeout(live.silence);
      live.silence = setTimeout(() => { line.hidden = true; }, 5000);
    },
  };

  function changed(event, timeline = true) {
    if (timeline && String(event.conversation_id) === openConversation()) {
      refetch($("#timeline"));
      if (event.type === "message" && $("#typing")) $("#typing").hidden = true;
    }
    checkRow(event.conversation_id);
    refetch(counted(), 500);
    refetch($("#home"), 500);
  }

  const POLL_EVERY = 10000;
  let socket = null;
  let lost = 0;
  let polling = 0;

  function say(frame) {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
  }

  function watch() {
    const id = Number(openConversation());
    if (id) say({ type: "watch", conversation_id: id });
  }

  function banner(text) {
    const line = $("#banner");
    if (!line) return;
    line.hidden = !text;
    line.textContent = text;
  }

  /* While there is no socket the page asks by itself; nobody looks at a hidden one. */
  function poll() {
    if (polling && !document.hidden) refetchAll();
  }

  function stopPolling() {
    clearInterval(polling);
    polling = 0;
  }

  document.addEventListener("htmx:ws:after:connection", (event) => {
    socket = event.detail.connection.socket;
    clearTimeout(lost);
    lost = 0;
    stopPolling();
    banner("");
    watch();
  });
  document.addEventListener("htmx:ws:close", (event) => {
    socket = null;
    if (event.detail.reason === "removed" || lost) return;
    lost = setTimeout(() => banner("Reconnecting. What you see may be out of date."), 2000);
    polling = setInterval(poll, POLL_EVERY);
  });
  document.addEventListener("htmx:ws:before:message:incoming", (event) => {
    event.preventDefault(); // our frames are events; none of them is markup to swap in
    let frame;
    try { frame = JSON.parse(event.detail.message.data); } catch { return; }
    if (typeof frame?.type === "string" && Object.hasOwn(live, frame.type) && typeof live[frame.type] === "function") {
      live[frame.type](frame);
    }
  });

  /* ---------- htmx: around requests and swaps ---------- */

  let decided = false; // whether what is swapped in answers a button of the draft that has the focus

  document.addEventListener("htmx:config:request", (event) => {
    const ctx = event.detail.ctx;
    // Going back renews the page in place: list, scroll, socket and typed text stay where they are.
    if (ctx.request.headers["HX-History-Restore-Request"]) ctx.swap = "outerMorph";
  });
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx } = event.detail;
    const into = typeof ctx.target === "string" ? ctx.target.replace("#", "") : ctx.target?.id || "";
    const left = leftFor(ctx, into);
    if (left) {
      event.preventDefault(); // one customer's words, or a form that answers them, never in another's pane
      if (ctx.response?.status === 409) setAside(ctx, left);
      return;
    }
    if (into === "timeline") decided = Boolean(document.activeElement?.closest(".draft")?.contains(ctx.sourceElement));
    if (into === "timeline" || into === "held") rescueEdits(ctx.text || "", ctx.sourceElement);
    if (into === "list") newcomers.clear();
  });
  document.addEventListener("htmx:after:swap", () => {
    settled();
    // The button that was pressed went with its card: the keyboard goes on from the conversation, not from the top.
    if (decided && document.activeElement === document.body) $("#tl")?.focus();
    decided = false;
  });
  document.addEventListener("htmx:finally:swap", title); // htmx writes the page's title after the swap
  document.addEventListener("htmx:error", (event) => {
    if (event.detail.ctx?.request?.method === "GET") return; // a live refetch that fails is shown by the banner
    toast("No answer from the server. What you typed is still here; doing it again is safe.", "error");
  });
  document.addEventListener("htmx:response:error", (event) => {
    const { request, response: { status, headers } } = event.detail.ctx;
    if (status === 401) stopPolling(); // the answer will not change before somebody signs in
    if (headers.has("HX-Trigger")) return; // the answer says itself what it means
    if (status >= 500) toast("Something went wrong on our side. What you typed is still here; doing it again is safe.", "error");
    // Not an answer of ours: a rule of the app around us, such as a form token that ran out.
    else if (request.method !== "GET" && status !== 409) toast("Your app refused this. Nothing was done and what you typed is still here; reload the page if it happens again.", "error");
  });
  document.addEventListener("cairnloop:toast", (event) => {
    toast(event.detail.text, event.detail.tone, event.detail);
    // Something of ours was done: the list follows, also where the socket is down. A refusal changes nothing.
    if (event.detail.tone !== "error" && openConversation()) changed({ type: "own", conversation_id: Number(openConversation()) }, false);
  });
  document.addEventListener("cairnloop:sent", (event) => {
    clearSent(event.detail.mode, event.detail.conversation);
    if (String(event.detail.conversation) !== openConversation()) return;
    $("#held")?.replaceChildren();
    $("#tl")?.scrollTo({ top: 0 });
  });
  /* Put out of the way by its key: the next one is opened. Nothing ticked stays so once it was done. */
  let following = {};
  document.addEventListener("cairnloop:left", (event) => {
    const { of, next } = following;
    following = {};
    if (of !== String(event.detail.conversation) || of !== openConversation()) return;
    const row = document.getElementById(next);
    row?.querySelector(".row").click();
  });
  document.addEventListener("cairnloop:several", () => {
    for (const box of $$("#rows .tick :checked")) box.checked = false;
    closeMenus();
    ticked();
  });
  document.addEventListener("cairnloop:unsent", (event) => follow(event.detail.conversation, true));
  document.addEventListener("cairnloop:next", (event) => next(event.detail.conversation));
  document.addEventListener("cairnloop:proposed", () => $("#propose")?.close());
  document.addEventListener("cairnloop:held", (event) => {
    if (String(event.detail.conversation) !== openConversation()) return;
    $("#held")?.querySelector("textarea, button")?.focus();
  });

  let shown = openConversation();

  function settled() {
    const now = openConversation();
    if (now !== shown) {
      shown = now;
      watch();
      if ($("#typing")) $("#typing").hidden = true;
      $("#work")?.removeAttribute("data-panel");
    }
    restore();
    mark();
    ticked();
    sweep();
    pill();
    tick();
    title();
    window.cairnloop.hint();
    markRead();
  }

  /* ---------- clicks ---------- */

  document.addEventListener("click", (event) => {
    const on = (name) => event.target.closest(`[data-${name}]`);
    let element;
    if ((element = on("edit"))) {
      const card = document.getElementById(element.dataset.edit);
      edit(card, !card.hasAttribute("data-editing"));
    } else if ((element = on("copy"))) {
      write("reply", element.dataset.copy);
    } else if ((element = on("copy-from"))) {
      write("reply", document.getElementById(element.dataset.copyFrom).value);
      $("#held").replaceChildren();
    } else if (on("write-reply")) {
      write("reply");
    } else if ((element = on("clip"))) {
      navigator.clipboard?.writeText(element.dataset.clip).then(() => toast("Copied"), () => {});
    } else if ((element = on("source"))) {
      const source = document.getElementById(element.dataset.source);
      if (!source) return;
      event.preventDefault();
      hidePassage();
      source.open = true;
      source.scrollIntoView({ block: "nearest" });
      source.setAttribute("data-flash", "");
      setTimeout(() => source.removeAttribute("data-flash"), 900);
    } else if ((element = on("context"))) {
      event.preventDefault();
      $("#work").toggleAttribute("data-panel");
    } else if ((element = on("propose")) && $("#propose")) {
      event.preventDefault();
      $("#propose").showModal();
      htmx.ajax("GET", element.href, { target: "#propose-body", swap: "innerHTML" });
    } else if ((element = on("refresh"))) {
      newcomers.clear();
      refetch(document.getElementById(element.dataset.refresh), 0);
    } else if ((element = on("dismiss"))) {
      document.getElementById(element.dataset.dismiss)?.remove();
    } else if ((element = on("open"))) {
      document.getElementById(element.dataset.open)?.showModal();
    } else if ((element = on("close"))) {
      element.closest("dialog")?.close();
    }
    if (on("unpick")) {
      for (const box of $$("#rows .tick :checked")) box.checked = false;
      ticked();
    }
    closeMenus(event.target);
  });

  /* All menus but the one that holds this. */
  function closeMenus(within = null) {
    for (const menu of $$("details[open]:is(.account, .vmenu, .why)")) {
      if (!menu.contains(within)) menu.open = false;
    }
  }
  document.addEventListener("submit", (event) => { if (event.target.closest(".tri, .pbar")) setTimeout(closeMenus); });

  /* ---------- what is ticked in the list ---------- */

  let lastTicked = "";
  const seenTicking = new Map(); // id -> id:sequence

  function ticked() {
    const count = $$("#rows .tick :checked").length;
    for (const words of $$("[data-picked]")) words.textContent = `${count} ticked`;
    // How far each had gone when it was ticked: a row that is fetched again since may say something nobody looked at.
    for (const row of $$("#rows > [data-row]")) {
      const box = $("input[type=checkbox]", row);
      if (!box?.checked) seenTicking.delete(row.dataset.row);
      else if (!seenTicking.has(row.dataset.row)) seenTicking.set(row.dataset.row, box.value);
    }
  }
  document.addEventListener("formdata", (event) => {
    if (event.target.id !== "several") return;
    const chosen = event.formData.getAll("id");
    event.formData.delete("id");
    for (const value of chosen) event.formData.append("id", seenTicking.get(value.split(":")[0]) || value);
  });

  function tickRow(range) {
    const row = document.activeElement?.closest("[data-row]") || $("#rows .row[aria-current]")?.parentElement;
    const box = row && $("input[type=checkbox]", row);
    if (!box) return;
    const rows = $$("#rows > [data-row]");
    const from = rows.findIndex((one) => one.dataset.row === lastTicked);
    const to = rows.indexOf(row);
    if (range && from >= 0) {
      for (const one of rows.slice(Math.min(from, to), Math.max(from, to) + 1)) {
        const other = $("input[type=checkbox]", one);
        if (other) other.checked = true;
      }
    } else box.click();
    lastTicked = row.dataset.row;
    ticked();
  }

  /* ---------- typing ---------- */

  let told = 0;
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!field.matches?.("[data-write]")) return;
    keep(field);
    if (field.dataset.write === "reply" && field.value && Date.now() - told > 2500) {
      told = Date.now();
      say({ type: "typing", conversation_id: Number(openConversation()) });
    }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches(".tick input")) {
      lastTicked = event.target.closest("[data-row]")?.dataset.row || "";
      ticked();
    }
    if (event.target.name === "mode") $(`[data-write=${event.target.value}]`)?.focus();
  });

  /* ---------- keyboard ---------- */

  function move(step) {
    const rows = $$("#rows .row, [data-row-link]");
    if (!rows.length) return;
    const here = rows.indexOf(document.activeElement);
    const from = here >= 0 ? here : rows.findIndex((row) => row.hasAttribute("aria-current"));
    const row = rows[Math.min(rows.length - 1, Math.max(0, from < 0 ? 0 : from + step))];
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  }

  function menuOf(step) {
    const menu = $(`details[data-gap=${step}]`);
    if (!menu) return;
    menu.open = true;
    $("textarea, .item", menu)?.focus();
  }

  function reason(why) {
    const box = $(`#detail [data-why=${why}]`);
    if (!box) return;
    box.open = true;
    $("textarea", box).focus();
  }

  /* A key of one conversation goes for all that are ticked, where some are. */
  function many(key) {
    const button = $("#list:has(.tick :checked)") && $(`[data-several=${key}]`);
    if (!button) return false;
    if (button.matches("summary")) menu(button.parentElement.id);
    else button.click();
    return true;
  }

  function menu(id) {
    const details = document.getElementById(id);
    if (!details) return;
    closeMenus(details);
    details.open = !details.open;
    if (details.open) firstOf(details);
    else $("summary", details).focus();
  }

  /* What a menu begins with has the focus; what is fetched for it first takes it when it is there. */
  function firstOf(details) {
    const first = $(".pop :is(.item, input:not([type=hidden]), select, a)", details);
    if (first) first.focus();
  }
  document.addEventListener("htmx:after:swap", (event) => {
    const details = event.detail.ctx?.sourceElement;
    if (details?.matches?.("details[open].vmenu")) firstOf(details);
  });

  function nextRow() {
    const rows = $$("#rows > [data-row]:not([data-gone])");
    const at = rows.findIndex((row) => row.dataset.row === openConversation());
    return (rows[at + 1] || rows[at - 1])?.id || "";
  }

  function resolve() {
    const form = $("#status-form");
    if (!form || $("#thread-head[data-resolved]")) return;
    following = { of: openConversation(), next: nextRow() };
    form.requestSubmit();
  }

  /* What is being written is sent, or the draft that waits. */
  function submit(event, field, name) {
    const dialog = $("dialog[open]");
    const form = field?.form || (dialog ? null : $("[data-approve]"));
    if (!form || form.matches(".reason, #several") || (dialog && !dialog.contains(form))) return false; // that one is sent by choosing a reason
    const button = name && form.querySelector(`[value=${name}]`);
    if (name && !button) return false;
    form.requestSubmit(button || undefined);
  }

  const go = (page) => () => location.assign(`${prefix}${page}`);

  window.cairnloop.keys("Everywhere", [
    { key: "g h", words: "Home", run: go("/") },
    { key: "g i", words: "Inbox", run: go("/inbox") },
    { key: "g k", words: "Knowledge", run: go("/knowledge") },
    { key: "g a", words: "Audit log", run: go("/audit") },
    { key: "g s", words: "Settings", run: go("/settings") },
    { key: "Escape", words: "Leave a field, close a panel" }, // see below
  ]);
  window.cairnloop.keys("List", [
    { key: "j", words: "Next conversation", run: () => move(1) },
    { key: "k", words: "Previous conversation", run: () => move(-1) },
    { key: "o", also: ["Enter"], words: "Open it", run: () => document.activeElement?.matches(".row, [data-row-link]") && document.activeElement.click() },
    { key: "x", words: "Tick it: E, Z, L, P and A then go for all that are ticked", run: () => tickRow(false) },
    { key: "X", words: "Tick all up to it", run: () => tickRow(true) },
    { key: "/", words: "Search the list", run: () => $("#find")?.focus() },
  ]);
  window.cairnloop.keys("Conversation", [
    { key: "r", words: "Write a reply", run: () => write("reply") },
    { key: "n", words: "Write a note", run: () => write("note") },
    { key: "Mod+Enter", typing: true, words: "Send what you are writing, or approve the draft", run: (event, field) => submit(event, field) },
    { key: "Mod+Shift+Enter", typing: true, words: "Send and resolve, then the next one", run: (event, field) => submit(event, field, "resolve") },
    { key: "u", words: "Take back the reply that is being sent", run: () => ($$("#toasts [data-undo]").at(-1)?.querySelector("button") || $$("[data-key=u]").at(-1))?.click() },
    { key: "e", words: "Resolve, and open the next one", run: () => { many("e") || resolve(); } },
    { key: "a", words: "Choose who has it", run: () => { many("a") || menu("m-assign"); } },
    { key: "i", words: "Take it yourself", run: () => $("#claim-form")?.requestSubmit() },
    { key: "l", words: "Tags", run: () => { many("l") || menu("m-tags"); } },
    { key: "p", words: "Priority", run: () => { many("p") || menu("m-priority"); } },
    { key: "z", words: "Snooze", run: () => { many("z") || menu("m-snooze"); } },
    { key: "E", words: "Edit the draft, or a suggested article", run: () => { const card = $(".draft:has(.dedit)"); if (card) edit(card, true); else $("button[data-gap=edit]")?.click(); } },
    { key: "t", words: "Propose an action", run: () => $("[data-propose]")?.click() },
  ]);
  window.cairnloop.keys("Gaps and reviews", [
    { key: "y", words: "Accept a gap; approve or publish an article", run: () => $("button[data-gap=accept]")?.click() },
    { key: "d", words: "Dismiss a gap; reject an article", run: () => menuOf("dismiss") },
    { key: "w", words: "Put off", run: () => menuOf("snooze") },
    { key: "c", words: "Ask for changes of an article", run: () => menuOf("return") },
    { key: "m", words: "Merge a gap into another", run: () => menuOf("merge") },
  ]);
  window.cairnloop.keys("Approvals", [
    { key: "R", words: "Reject the action", run: () => reason("reject") },
    { key: "D", words: "Put the action off", run: () => reason("defer") },
  ]);

  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (event.key === "Enter" && field?.matches("[data-enter]")) { // a form has more buttons than the one beside it
      event.preventDefault();
      field.parentElement.querySelector("button")?.click();
      return;
    }
    const items = event.target.closest?.(".vmenu[open] .pop") && ["ArrowDown", "ArrowUp"].includes(event.key) && !field;
    if (items) {
      event.preventDefault();
      const all = $$(".item, a", event.target.closest(".pop"));
      all[(all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length]?.focus();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    const field = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (field) field.blur();
    else $("#work")?.removeAttribute("data-panel");
    for (const menu of $$("details[open]:is(.account, .vmenu, .why)")) {
      const back = menu.contains(event.target);
      menu.open = false;
      if (back) $("summary", menu).focus();
    }
  });

  document.addEventListener("visibilitychange", () => {
    markRead();
    if (!document.hidden) refetch($("#outage"), 0);
    poll();
  });

  // For the scripts that come after this one.
  Object.assign(window.cairnloop, { $, $$, prefix, openConversation, toast, tokenField, write, say, live, refetch });

  /* htmx starts as soon as it is loaded, perhaps before its socket extension is: the socket is made here, last, when
     whoever listens is in place. */
  const socketElement = $("#live");
  if (socketElement) {
    socketElement.setAttribute("hx-ws:connect", socketElement.dataset.socket);
    htmx.process(socketElement);
  }

  settled();
})();
