/* The palette: a combobox in a dialog. The server says what is found; this opens it, asks for it, and does what is
   chosen. What it does to a page, it does by what stands there already: links, forms, the reply field. */
(() => {
  "use strict";

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const palette = $("#palette");
  if (!palette) return;

  const PAUSE = 250; // ms of rest after a letter before it is looked for
  const STAYS = 8000; // ms after which a question that found no answer counts as asked
  const field = $("#palette-q");
  const form = $("#palette-form");
  const parts = [$("#palette-found"), $("#palette-answers")];
  const side = $("#palette-side");
  const none = $("#palette-none");
  const prefix = document.body.dataset.prefix || "";
  const openConversation = () => $("#work")?.dataset.conversation || "";
  const options = () => $$(".pal-opt", palette);
  const wide = matchMedia("(min-width: 768px)");

  let turn = 0; // of a question: an answer to an earlier one is not shown
  let pending = 0;
  let answered = false; // whether what bears the name has come
  let waiting = 0; // parts that have not been answered
  let eager = null; // Enter came before what it is meant for: whether elsewhere
  let active = null;
  let before = null; // where the focus was
  let missed = ""; // the question on the page that no article answers
  let staying = 0;
  const told = new Set();

  /* ---------- opening and closing ---------- */

  function open(from) {
    if (palette.open) return;
    for (const other of $$("dialog[open]")) other.close();
    before = from || document.activeElement;
    for (const menu of $$("details[open]:is(.account, .vmenu, .why)")) menu.open = false;
    field.value = "";
    for (const part of parts) part.replaceChildren();
    show(null);
    palette.showModal();
    field.focus();
    look();
  }

  function close(focus = true) {
    settle();
    pending = clearTimeout(pending) || 0;
    eager = null;
    turn += 1; // what is still on its way is for nobody
    palette.close();
    if (focus && before?.isConnected) before.focus();
    before = null;
  }

  /* ---------- asking ---------- */

  function look() {
    turn += 1;
    missed = "";
    pending = clearTimeout(pending) || 0;
    clearTimeout(staying);
    form.elements.turn.value = turn;
    form.elements.conversation.value = openConversation();
    waiting = parts.length;
    answered = false;
    palette.setAttribute("aria-busy", "true");
    for (const part of parts) htmx.trigger(part, "look");
  }

  const turnOf = (ctx) => new URL(ctx.request.action, location.href).searchParams.get("turn")
    ?? ctx.request.body?.get?.("turn");

  function partOf(ctx) {
    return parts.find((part) => part === ctx?.sourceElement);
  }

  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx } = event.detail;
    if (partOf(ctx) && (turnOf(ctx) !== String(turn) || !palette.open)) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", (event) => {
    const part = partOf(event.detail.ctx);
    if (part && turnOf(event.detail.ctx) === String(turn)) shown(part);
  });
  for (const name of ["htmx:error", "htmx:response:error"]) {
    document.addEventListener(name, (event) => {
      const { ctx } = event.detail;
      const part = partOf(ctx);
      if (!part || !palette.open || turnOf(ctx) !== String(turn)) return;
      part.replaceChildren();
      shown(part, "The server does not answer. Type on to ask again.");
    });
  }

  function shown(part, trouble = "") {
    waiting = Math.max(0, waiting - 1);
    if (!waiting) palette.removeAttribute("aria-busy");
    for (const option of $$("[data-press]", part)) { // what does not stand on this page cannot be pressed
      if (!$(option.dataset.press)) option.remove();
    }
    for (const group of $$("[role=group]", part)) {
      if (part === parts[0] && !$(".pal-opt", group)) group.remove();
    }
    if (part === parts[0]) answered = true;
    if (part === parts[0] || !active?.isConnected) show(options()[0] || null);
    const found = options().length;
    const empty = !found && !$(".pal-note", palette);
    none.hidden = !(empty || trouble);
    none.textContent = trouble || (waiting
      ? "Looking through the articles…"
      : "Nothing is called that. Names, subjects, titles and addresses are looked through.");
    if (!waiting) $("#palette-say").textContent = trouble || (found ? `${found} found` : "Nothing found");
    if (part === parts[1]) ask(part);
    if (part !== parts[0] || eager === null) return;
    const elsewhere = eager;
    eager = null;
    if (!active?.hasAttribute("data-answer")) choose(active, elsewhere); // answers are read before they are used
  }

  /* ---------- a question that no article answers is told once it is done with ---------- */

  function ask(part) {
    missed = $("[data-miss]", part)?.dataset.miss || "";
    clearTimeout(staying);
    if (missed) staying = setTimeout(settle, STAYS);
  }

  function settle() {
    clearTimeout(staying);
    const question = missed;
    missed = "";
    if (!question || told.has(question) || !palette.dataset.settled) return;
    told.add(question);
    const token = $("#outage input[name=csrf_token]")?.value;
    fetch(palette.dataset.settled, {
      method: "POST",
      keepalive: true,
      body: new URLSearchParams({
        q: question,
        conversation: form.elements.conversation.value,
        ...(token && { csrf_token: token }),
      }),
    }).catch(() => told.delete(question));
  }

  /* ---------- the active line ---------- */

  function show(option) {
    active?.setAttribute("aria-selected", "false");
    active = option;
    if (!option) {
      field.removeAttribute("aria-activedescendant");
      side.hidden = true;
      return;
    }
    option.setAttribute("aria-selected", "true");
    field.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
    const detail = $(".pal-detail", option);
    // On a phone only answers have something to read, and take room for it.
    side.hidden = !detail || !(wide.matches || option.hasAttribute("data-answer"));
    side.replaceChildren();
    if (detail) side.append(...detail.cloneNode(true).childNodes);
    if (option.hasAttribute("data-answer")) side.append(buttons(option));
    side.scrollTop = 0;
    $("#palette-verb").textContent = verb(option);
  }

  const verb = (option) => option.dataset.cite && canInsert() ? "insert" : option.hasAttribute("href") ? "open" : "do it";

  function buttons(option) {
    const bar = document.createElement("span");
    bar.className = "pal-act";
    const button = (words, primary, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = primary ? "btn btn-primary" : "btn";
      made.textContent = words;
      made.addEventListener("click", act);
      bar.append(made);
    };
    const inserts = option.dataset.cite && canInsert();
    if (inserts) button("Insert into reply", true, () => insert(option));
    button("Open", !inserts, () => follow(option, false));
    return bar;
  }

  function move(step) {
    const all = options();
    if (!all.length) return;
    const here = all.indexOf(active);
    show(all[Math.max(0, Math.min(all.length - 1, here + step))]);
  }

  /* ---------- doing ---------- */

  function choose(option, elsewhere = false) {
    if (!option) return;
    if (option.dataset.cite && canInsert() && !elsewhere) insert(option);
    else if (option.hasAttribute("href")) follow(option, elsewhere);
    else if (option.dataset.assign) assign(option.dataset.assign);
    else press(option.dataset.press);
  }

  /* What stands there may belong to fewer letters than were typed: then it is chosen from what comes. */
  function enter(elsewhere) {
    if (!pending && answered) { choose(active, elsewhere); return; }
    eager = elsewhere;
    if (pending) look();
  }

  /* Something was chosen: the question has its answer. */
  function done(focus) {
    missed = "";
    close(focus);
  }

  function follow(option, elsewhere) {
    const { href } = option;
    if (elsewhere) {
      missed = "";
      window.open(href, "_blank", "noopener");
      return;
    }
    const beside = option.hasAttribute("data-work") && $("#work");
    done(false);
    if (beside) htmx.ajax("GET", href, { target: "#work", swap: "outerHTML", push: "true" });
    else location.assign(href);
  }

  function assign(to) {
    const made = $("#palette-assign");
    done(true);
    made.elements.to.value = to;
    made.elements.view.value = $("#list")?.dataset.view || "";
    made.requestSubmit();
  }

  function press(selector) {
    done(true);
    const there = $(selector);
    if (!there) return;
    if (there.matches("form")) there.requestSubmit();
    else if (there.matches("[data-write]")) write(there.dataset.write);
    else there.click();
  }

  function write(mode) {
    const tab = $(`#m-${mode}`);
    if (tab) tab.checked = true;
    const into = $(`[data-write=${mode}]`);
    into?.focus();
    into?.setSelectionRange(into.value.length, into.value.length);
    return into;
  }

  /* ---------- an answer goes into the reply, with what it rests on beside it ---------- */

  const canInsert = () => Boolean($("#cites") && $("[data-write=reply]"));
  const citesKey = (conversation) => `cairnloop:${prefix}:cites-${conversation}`;

  function insert(option) {
    const { cite, title, insert: words } = option.dataset;
    done(false);
    const into = write("reply");
    into.value = into.value.trim() ? `${into.value.trimEnd()}\n\n${words}` : words;
    const kept = cited().filter((one) => one.cite !== cite);
    keepCites([...kept, { cite, title }]);
    into.dispatchEvent(new Event("input", { bubbles: true })); // it is kept like what was typed
    write("reply");
  }

  function cited() {
    try { return JSON.parse(sessionStorage.getItem(citesKey(openConversation()))) || []; } catch { return []; }
  }

  function keepCites(cites, conversation = openConversation()) {
    if (cites.length) sessionStorage.setItem(citesKey(conversation), JSON.stringify(cites));
    else sessionStorage.removeItem(citesKey(conversation));
    drawCites();
  }

  function drawCites() {
    const list = $("#cites");
    if (!list) return;
    const cites = cited();
    const now = cites.map((one) => one.cite).join();
    if (list.dataset.shown === now) return;
    list.dataset.shown = now;
    list.hidden = !cites.length;
    list.replaceChildren(...cites.map(chip));
  }

  function chip({ cite, title }) {
    const item = document.createElement("li");
    const words = document.createElement("span");
    words.className = "cut";
    words.textContent = title;
    const value = document.createElement("input");
    value.type = "hidden";
    value.name = "cite";
    value.value = cite;
    value.setAttribute("form", "reply-form");
    const away = document.createElement("button");
    away.type = "button";
    away.textContent = "×";
    away.setAttribute("aria-label", `Do not cite ${title}`);
    away.addEventListener("click", () => {
      keepCites(cited().filter((one) => one.cite !== cite));
      $("[data-write=reply]")?.focus();
    });
    item.append(words, value, away);
    return item;
  }

  document.addEventListener("cairnloop:sent", (event) => {
    if (event.detail.mode === "reply") keepCites([], event.detail.conversation);
  });
  document.addEventListener("input", (event) => { // nothing is left of what it rested on
    if (event.target.dataset?.write === "reply" && !event.target.value.trim()) keepCites([]);
  });
  document.addEventListener("htmx:after:swap", drawCites);
  drawCites();

  /* ---------- keys and clicks ---------- */

  window.cairnloop.keys("Everywhere", [{ key: "Mod+k", words: "Find or do anything, ask the articles" }]); // handled below
  document.addEventListener("keydown", (event) => {
    if (!(event.metaKey || event.ctrlKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    event.stopPropagation();
    if (palette.open) close();
    else open();
  }, true);

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-palette]");
    if (!opener || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    open(opener);
  });

  field.addEventListener("input", () => {
    missed = ""; // the question goes on
    eager = null;
    clearTimeout(staying);
    clearTimeout(pending);
    palette.setAttribute("aria-busy", "true");
    pending = setTimeout(look, field.value ? PAUSE : 0);
  });

  form.addEventListener("submit", (event) => event.preventDefault());

  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    PageDown: () => move(8),
    PageUp: () => move(-8),
    Home: () => show(options()[0] || null),
    End: () => show(options().at(-1) || null),
  };

  palette.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the page behind it has keys of its own
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.preventDefault();
      if (!field.value) { close(); return; }
      settle(); // taken back: that question is done with
      field.value = "";
      field.focus();
      eager = null;
      look();
      return;
    }
    if (event.target !== field) return;
    if (event.key === "Enter") {
      event.preventDefault();
      enter(event.metaKey || event.ctrlKey);
    } else if (Object.hasOwn(keys, event.key) && !event.shiftKey && !event.altKey && !event.metaKey && !event.ctrlKey) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  palette.addEventListener("cancel", (event) => { event.preventDefault(); close(); });

  palette.addEventListener("click", (event) => {
    const option = event.target.closest(".pal-opt");
    if (option) {
      event.preventDefault();
      const elsewhere = event.metaKey || event.ctrlKey;
      // An answer is read before it is used; whatever else is what its name says.
      if (option.hasAttribute("data-answer") && !elsewhere) { show(option); field.focus({ preventScroll: true }); }
      else choose(option, elsewhere);
    } else if (event.target === palette || event.target.closest("[data-close]")) {
      event.stopPropagation();
      close();
    }
  });

  palette.addEventListener("pointermove", (event) => {
    const option = event.pointerType === "mouse" && event.target.closest(".pal-opt");
    if (option && option !== active) show(option);
  });

  wide.addEventListener("change", () => palette.open && show(active));

  /* Without a Mac the shortcut is Ctrl. */
  if (!/Mac|iPhone|iPad/.test(navigator.platform)) {
    for (const key of $$(".find .pal-key")) key.textContent = "Ctrl K";
  }
})();
