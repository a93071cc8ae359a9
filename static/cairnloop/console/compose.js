/* What helps while an operator writes: macros behind "/", colleagues behind "@", who else is here, and a word from the
   desktop when nobody looks. console.js holds the fields and the socket. */
(() => {
  "use strict";

  const desk = window.cairnloop;
  const { $, $$, prefix, openConversation, toast, tokenField } = desk;

  /* ---------- a list over the field: the caret stays in the text, the arrows move in the list ---------- */

  // What opens it, and what is chosen from: in a reply macros, in a note colleagues.
  const TRIGGERS = { reply: /(?:^|\s)(\/([^\s/]*))$/, note: /(?:^|[\s(])(@([^@\n]{0,40}))$/ };
  let open = null; // { field, from, items, at } while the list is shown
  let asked = 0;

  const box = () => $("#picker");
  const ask = (path, options) => fetch(`${prefix}/conversations/${openConversation()}${path}`, {
    headers: { "HX-Request": "true", "HX-Request-Type": "partial" }, ...options,
  });

  async function offer(field) {
    const found = TRIGGERS[field.dataset.write].exec(field.value.slice(0, field.selectionStart));
    const here = ++asked;
    if (!found || field.selectionStart !== field.selectionEnd) return close();
    const [, typed, query] = found;
    const path = field.dataset.write === "reply" ? "/macros?q=" : "/people?q=";
    const answer = await ask(path + encodeURIComponent(query)).catch(() => null);
    if (here !== asked || !answer?.ok || document.activeElement !== field) return;
    const items = await answer.json();
    if (here !== asked) return;
    if (!items.length && (query || field.dataset.write === "note")) return close();
    open = { field, from: field.selectionStart - typed.length, items, at: 0 };
    draw();
  }

  function draw() {
    const list = box();
    if (!open || !list) return;
    const element = (name, className, text) => Object.assign(document.createElement(name), { className, textContent: text });
    const rows = open.items.map((item, number) => {
      const row = element("div", "item pick", "");
      Object.assign(row, { id: `pick-${number}`, role: "option" });
      row.setAttribute("aria-selected", String(number === open.at));
      row.append(element("span", "b", item.name));
      if (item.missing?.length) row.append(element("span", "ember small", `Needs ${item.missing.map((name) => `{{${name}}}`).join(", ")}`));
      for (const [, label] of item.does || []) row.append(element("span", "small muted", label));
      if (item.text && number === open.at) row.append(element("span", "text small", item.text));
      row.addEventListener("mousedown", (event) => { event.preventDefault(); choose(number); });
      return row;
    });
    if (!rows.length) rows.push(element("p", "sec muted", "No macro yet. They are written under Settings."));
    list.replaceChildren(...rows);
    list.setAttribute("aria-label", open.field.dataset.write === "reply" ? "Macros" : "Colleagues");
    list.hidden = false;
    open.field.setAttribute("aria-controls", "picker");
    if (open.items.length) open.field.setAttribute("aria-activedescendant", `pick-${open.at}`);
    $("[aria-selected=true]", list)?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    asked += 1;
    open?.field.removeAttribute("aria-activedescendant");
    open = null;
    if (box()) box().hidden = true;
  }

  async function choose(number) {
    const { field, from, items } = open;
    const item = items[number];
    const to = field.selectionStart;
    close();
    if (field.dataset.write === "note") return put(field, from, to, `@${item.name} `);
    const answer = await ask(`/macros/${item.id}/use`, {
      method: "POST", body: new URLSearchParams(tokenField()),
      headers: { "HX-Request": "true", "HX-Request-Type": "partial" },
    }).catch(() => null);
    if (!answer?.ok) {
      const told = JSON.parse(answer?.headers.get("HX-Trigger") || "{}")["cairnloop:toast"];
      return toast(told?.text || "No answer from the server. Nothing was inserted.", "error");
    }
    const { text, does } = await answer.json();
    put(field, from, to, text);
    for (const [name, label] of does) addDone(name, label);
  }

  function put(field, from, to, text) {
    field.focus();
    field.setRangeText(text, from, to, "end");
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /* What a macro has done when the reply is sent; each can be left out. */
  function addDone(name, label) {
    const list = $("#does");
    if (!list || $(`[value="${name}"]`, list)) return;
    const row = document.createElement("li");
    const tick = Object.assign(document.createElement("label"), { className: "tick" });
    const input = Object.assign(document.createElement("input"), { type: "checkbox", name: "does", value: name, checked: true });
    input.setAttribute("form", "reply-form");
    tick.append(input, label);
    row.append(tick);
    list.append(row);
  }

  document.addEventListener("cairnloop:sent", (event) => {
    if (event.detail.mode === "reply") $("#does")?.replaceChildren();
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-write]")) offer(event.target);
  });
  document.addEventListener("focusout", (event) => {
    if (open && event.target === open.field) close();
  });
  document.addEventListener("keydown", (event) => {
    if (!open || event.target !== open.field || event.isComposing || event.metaKey || event.ctrlKey) return;
    const count = open.items.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      open.at = (open.at + (event.key === "ArrowDown" ? 1 : count - 1)) % (count || 1);
      draw();
    } else if ((event.key === "Enter" || event.key === "Tab") && count && !event.shiftKey) choose(open.at);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-pick]");
    if (!button) return;
    event.preventDefault();
    desk.write("reply");
    const field = $("[data-write=reply]");
    put(field, field.selectionStart, field.selectionEnd, /\S$/.test(field.value.slice(0, field.selectionStart)) ? " /" : "/");
  });
  desk.keys("Writing", [
    { key: "/", words: "In a reply: insert a macro" },
    { key: "@", words: "In a note: name a colleague" },
  ]);

  /* ---------- who else is here: told to the server while the page is looked at, and never kept ---------- */

  const EVERY = 20000;
  let people = []; // who else looks at the open conversation
  let replying = ""; // who of them writes at this moment
  let silence = 0;
  let looked = 0;

  function look() {
    const id = document.hidden ? 0 : Number(openConversation());
    if (id !== looked) show([]);
    looked = id;
    desk.say({ type: "look", conversation_id: id });
  }

  function show(now) {
    people = now;
    const line = $("#viewers");
    if (!line) return;
    const names = replying && !people.includes(replying) ? [replying, ...people] : people;
    line.hidden = !names.length;
    const first = (name) => name.split(" ")[0];
    line.textContent = replying ? `${first(replying)} is replying…`
      : names.length > 2 ? `${names.length} colleagues are here`
      : `${names.map(first).join(" and ")} ${names.length > 1 ? "are" : "is"} here too`;
    line.title = names.join(", ");
    line.classList.toggle("ember", Boolean(replying));
  }

  desk.live.viewers = (event) => {
    if (String(event.conversation_id) === openConversation()) show(event.people);
  };
  desk.typing = (name) => {
    replying = name;
    show(people);
    clearTimeout(silence);
    silence = setTimeout(() => { replying = ""; show(people); }, 5000);
  };
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
  document.addEventListener("htmx:ws:after:connection", look);
  document.addEventListener("htmx:after:swap", () => {
    if (!document.hidden && Number(openConversation()) !== looked) {
      replying = "";
      look();
    }
    show(people);
  });

  /* ---------- desktop notifications: only when asked for, with words of customers only when asked for those ---------- */

  const CHOICE = `cairnloop:${prefix}:notify`;
  const chosen = () => (window.Notification?.permission === "granted" && localStorage.getItem(CHOICE)) || "off";

  function showChoice() {
    for (const button of $$("[data-notify]")) button.setAttribute("aria-pressed", String(button.dataset.notify === chosen()));
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-notify]");
    if (!button) return;
    const wanted = button.dataset.notify;
    if (wanted !== "off" && await Notification.requestPermission() !== "granted") {
      toast("Your browser does not allow notifications from this page.");
    }
    localStorage.setItem(CHOICE, wanted);
    showChoice();
  });

  function notify(title, body, path, tag) {
    // The same tag in each open page of this desk: it is shown once.
    const note = new Notification(title, { body, tag: `${prefix}${tag}`, icon: $("link[rel=icon]")?.dataset.plain });
    note.onclick = () => {
      focus();
      location.assign(`${prefix}${path}`);
      note.close();
    };
  }

  const listen = desk.live.message;
  desk.live.message = async (event) => {
    listen(event);
    if (event.kind !== "customer" || !document.hidden || chosen() === "off") return;
    // Whoever may not see the conversation gets no row, and hears nothing of it.
    const answer = await fetch(`${prefix}/inbox/rows/${event.conversation_id}`, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) return;
    const words = async () => {
      const row = new DOMParser().parseFromString(await answer.text(), "text/html");
      return [".who", ".l3 .cut"].map((part) => row.querySelector(part)?.textContent || "");
    };
    const [who, said] = chosen() === "text" ? await words() : ["A customer has written", ""];
    notify(who, said, `/conversations/${event.conversation_id}`, `-${event.conversation_id}-${event.sequence}`);
  };
  desk.live.mention = (event) => {
    desk.refetch($("#bell-count"));
    desk.refetch($("#mentions"));
    if (!event.conversation_id) return;
    const path = `/conversations/${event.conversation_id}#m${event.sequence}`;
    const rated = event.because === "rating";
    if (document.hidden && chosen() !== "off") notify(rated ? "A customer was not content" : "A colleague mentions you", "", path, `-mention-${event.conversation_id}-${event.sequence}`);
    toast(rated ? "A customer was not content with the help" : "A colleague mentions you in a note", "info", { open: `${prefix}${path}`, seconds: 10 });
  };

  if (window.Notification) for (const menu of $$(".notify")) menu.hidden = false;
  showChoice();
})();
