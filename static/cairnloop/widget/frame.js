/* The chat inside its frame: shows what the server says, and keeps what it has not taken yet. */

import { Files, list } from "./files.js";
import { Link } from "./link.js";

const TEXT = {
  connecting: "Connecting",
  connected: "Connected",
  reconnecting: "Reconnecting",
  offline: "Offline",
  sending: "Sending",
  unsent: "Not sent yet, no connection",
  ended: "Your sign-in has ended. Reload the page to go on.",
  unwanted: "We could not sign you in. Send a message, or reload the page, to try again.",
  closed: "This chat was closed. Reload the page to open it again.",
  alone: "Open this chat from the page it belongs to.",
  tooLong: (length, limit) => `This message has ${length.toLocaleString()} characters; ${limit.toLocaleString()} fit. Shorten it, or send it in parts.`,
  refused: (reason) => `Not sent. ${reason}`,
  typing: (name) => `${name || "Somebody"} is typing`,
  resolved: (name) => (name ? `Resolved by ${name}` : "Resolved"),
  reopened: (name, automatic) => automatic ? "Opened again, so that somebody looks at it" : (name ? `Opened again by ${name}` : "You wrote again, so this is open again"),
  writeAgain: ". Write again to reopen it",
  question: (name) => (name ? `How was the help from ${name}?` : "How was the help?"),
  rated: (rating) => `Thank you. You rated the help ${rating} of 5.`,
  today: "Today",
  yesterday: "Yesterday",
};
const MOST_REFUSALS = 5; // in a row: fresh tokens do not help
const SHORT_WAIT = 2; // seconds that the server may ask us to wait before words are given back
const TYPING_EVERY = 3_000;
const TYPING_SHOWN = 6_000;
const GROUP_WITHIN = 5 * 60_000;
const SUGGEST_AFTER = 600;
const SUGGEST_FROM = 12; // characters
const SUGGEST_UP_TO = 500;
const LINKS_EVERY = 20 * 60_000; // an address of a file holds for half an hour at least

const $ = (id) => document.getElementById(id);
const clockFace = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const socketUrl = new URL(document.body.dataset.socket, location.href);
socketUrl.protocol = socketUrl.protocol.replace("http", "ws");
const STORE = `cairnloop.chat:${socketUrl.pathname}`; // one origin may have several desks

const shown = new Map(); // cursor -> element
const chat = {
  conversation: null,
  cursor: 0,
  seen: 0,
  status: "open",
  waiting: false,
  rating: null,
  asks: false, // whether a rating may be given, or changed
  changing: false, // whether the one that was given is being changed
  commented: false, // whether something was said beside it on this page
  limit: Infinity,
  person: null,
  helper: "", // who resolved it
};
let unsent = []; // {client_id, body, at, files, element}
let open = false;
let ended = ""; // why nothing can be sent on this page any more
let unwanted = null; // the token after which we stopped asking for fresh ones
let hostOrigin = "";

/* ---- what is kept for a reload: unsent words, under the mark of the person who wrote them ---- */

function keep() {
  const words = unsent.map(({ client_id, body, at, files }) => ({ client_id, body, at, files: files.map(({ url, ...file }) => file) }));
  try {
    sessionStorage.setItem(STORE, JSON.stringify({ person: chat.person, unsent: words, draft: $("body").value }));
  } catch {
    // storage is off in this browser: a reload then forgets what was not sent
  }
}

function recall() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE)) || {};
  } catch {
    return {};
  }
}

function setPerson(person) {
  if (chat.person === person) return;
  if (chat.person !== null) {
    unsent.splice(0).forEach(({ element }) => element.remove());
    files?.clear();
  }
  chat.person = person;
  const kept = recall();
  if (kept.person !== person) return keep();
  for (const { client_id, body, at, files = [] } of kept.unsent || []) {
    if (!unsent.some((item) => item.client_id === client_id)) queue(client_id, body, at, files);
  }
  if (kept.draft && !$("body").value) setDraft(kept.draft);
}

/* ---- building ---- */

const LINK = /https?:\/\/[^\s<>"']+/g;

/** Text with its addresses as links, made of nodes: nothing in it is ever read as HTML. */
function linkified(text) {
  const parts = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(/[.,;:!?)\]}’”]+$/, "");
    if (!URL.canParse(address)) continue;
    const link = document.createElement("a");
    Object.assign(link, { href: address, textContent: address, target: "_blank", rel: "noopener noreferrer nofollow" });
    parts.append(text.slice(end, match.index), link);
    end = match.index + address.length;
  }
  parts.append(text.slice(end));
  return parts;
}

function build(template, { body, at, author, files }) {
  const element = $(`${template}-template`).content.firstElementChild.cloneNode(true);
  element.dataset.at = at;
  element.dataset.by = template === "theirs" ? author || "" : template;
  const said = element.querySelector(".said");
  said.dir = "auto";
  said.append(linkified(body));
  said.hidden = !body;
  if (files?.length) said.after(list(files));
  stamp(element, at);
  const who = element.querySelector(".who");
  if (who && template === "theirs") who.textContent = author || document.title;
  return element;
}

function stamp(element, at) {
  element.dataset.at = at;
  const time = element.querySelector("time");
  time.dateTime = at;
  time.textContent = clockFace.format(new Date(at));
}

function buildMessage(frame) {
  if (frame.kind === "event") return buildEvent(frame);
  if (frame.kind === "customer") return build("mine", frame);
  const element = build(frame.automatic ? "automatic" : "theirs", frame);
  const sources = element.querySelector(".sources");
  for (const { title, section } of frame.sources || []) {
    const source = $("source-template").content.firstElementChild.cloneNode(true);
    source.querySelector(".title").textContent = title;
    source.querySelector(".section").textContent = section;
    sources.append(source);
  }
  if (!sources.children.length) (sources.closest("details") || sources).remove();
  return element;
}

function buildEvent({ event, author, at, automatic }) {
  const element = $("event-template").content.firstElementChild.cloneNode(true);
  element.dataset.at = at;
  element.dataset.by = "event";
  element.dataset.event = event;
  element.dataset.author = author || "";
  element.textContent = TEXT[event](author, automatic);
  return element;
}

/* ---- placing: messages in the order of their cursors, what is unsent after them ---- */

function place(element, cursor) {
  element.dataset.cursor = cursor;
  const later = [...shown.keys()].filter((key) => key > cursor).sort((a, b) => a - b)[0];
  const next = later === undefined ? (unsent.find((item) => item.element.isConnected)?.element ?? null) : shown.get(later);
  shown.set(cursor, element);
  $("messages").insertBefore(element, next && dayOf(next) ? dayOf(next) : next);
  arrange(element);
  if (element.nextElementSibling) arrange(nextMessage(element));
}

const dayOf = (element) => (element.previousElementSibling?.matches(".day") ? element.previousElementSibling : null);
const day = (element) => new Date(element.dataset.at).toDateString();

function beside(element, step) {
  let other = element[step];
  while (other?.matches(".day")) other = other[step];
  return other;
}
const nextMessage = (element) => beside(element, "nextElementSibling");

/** Put or take away the day above a message, and join it to the one before when they belong together. */
function arrange(element) {
  if (!element) return;
  dayOf(element)?.remove();
  const before = beside(element, "previousElementSibling");
  const newDay = !before || day(before) !== day(element);
  if (newDay) {
    const heading = $("day-template").content.firstElementChild.cloneNode(true);
    heading.textContent = dayName(new Date(element.dataset.at));
    element.before(heading);
  }
  const near = before && new Date(element.dataset.at) - new Date(before.dataset.at) < GROUP_WITHIN;
  const same = before?.dataset.by === element.dataset.by && !["event", "automatic"].includes(element.dataset.by);
  element.classList.toggle("follows", Boolean(!newDay && near && same));
}

function dayName(date) {
  const midnight = (value) => new Date(value.getFullYear(), value.getMonth(), value.getDate());
  const days = Math.round((midnight(new Date()) - midnight(date)) / 86_400_000);
  if (days === 0) return TEXT.today;
  return days === 1 ? TEXT.yesterday : calendar.format(date);
}

/* ---- what the server says ---- */

const heard = {
  joined(frame) {
    if (frame.conversation !== chat.conversation && chat.conversation !== null) clear();
    setPerson(frame.person);
    chat.conversation = frame.conversation;
    chat.limit = frame.limit;
    chat.seen = Math.max(chat.seen, frame.seen || 0);
    if (!$("title").dataset.own) $("title").textContent = frame.title;
    for (const message of frame.messages) heard.message(message, false);
    if (frame.conversation !== null) heard.status(frame);
    resend();
    show();
    // Only what comes from now on is news to a screen reader.
    requestAnimationFrame(() => $("log").setAttribute("aria-live", "polite"));
  },

  message(frame, news = true) {
    chat.cursor = Math.max(chat.cursor, frame.cursor);
    if (shown.has(frame.cursor)) return;
    if (frame.client_id && settle(frame.client_id, frame)) return;
    const element = buildMessage(frame);
    if (frame.event === "resolved") chat.helper = frame.author || "";
    if (news) element.classList.add("fresh");
    place(element, frame.cursor);
    if (["reply", "follow_up"].includes(frame.kind)) {
      stopTyping();
      element.dataset.reply = "";
      if (news && scrolledUp()) $("jump").hidden = false;
    }
    show();
  },

  accepted(frame) {
    if (chat.conversation !== null && frame.conversation !== chat.conversation) clear();
    chat.conversation = frame.conversation;
    settle(frame.client_id, frame);
    chat.cursor = Math.max(chat.cursor, frame.cursor);
    show();
  },

  status({ status, waiting, rating, asks = false }) {
    if (rating !== chat.rating || !asks) chat.changing = false;
    Object.assign(chat, { status, waiting, rating, asks });
    show();
  },

  seen({ cursor }) {
    chat.seen = Math.max(chat.seen, cursor);
    show();
  },

  typing({ name }) {
    $("typing").textContent = TEXT.typing(name);
    clearTimeout(typingEnds);
    typingEnds = setTimeout(stopTyping, TYPING_SHOWN);
    $("typing").hidden = false;
    show();
  },

  suggestions({ articles }) {
    suggest($("body").value.trim() === asked ? articles : []);
  },

  links({ files: urls }) {
    document.querySelectorAll("[data-file]").forEach((address) => {
      const url = urls[address.dataset.file];
      if (url) address.href = url;
    });
  },

  error(frame) {
    if (frame.code === "not_found") {
      clear(); // what is unsent goes into the conversation that is resumed, or into a new one
      link.restart();
    } else if (frame.code === "too_many" && frame.retry_after <= SHORT_WAIT) slowDown(frame);
    else if (frame.client_id) refuse(frame);
    else if (frame.code === "disconnected") end(TEXT.closed);
    else if (!["unauthorized", "internal"].includes(frame.code)) warn(frame.message);
  },
};

let typingEnds = 0;
function stopTyping() {
  clearTimeout(typingEnds);
  $("typing").hidden = true;
  show();
}

function clear() {
  shown.forEach((element) => element.remove());
  shown.clear();
  document.querySelectorAll(".day").forEach((heading) => heading.remove());
  Object.assign(chat, { conversation: null, cursor: 0, seen: 0, status: "open", waiting: false, rating: null, asks: false, changing: false, commented: false });
  unsent.forEach(({ element }) => arrange(element));
}

/* ---- sending ---- */

function queue(client_id, body, at, files) {
  const element = build("mine", { body, at, files });
  element.classList.add("unsent");
  const item = { client_id, body, at, files, element };
  unsent.push(item);
  $("messages").append(element);
  arrange(element);
  return item;
}

function submit() {
  const body = $("body").value.trim();
  if (!body && !files?.any) return;
  if (ended && unwanted === null) return warn(ended);
  if (files?.busy) return files.afterwards(submit);
  const length = [...body].length;
  if (length > chat.limit) return warn(TEXT.tooLong(length, chat.limit));
  const item = queue(uuid(), body, new Date().toISOString(), files?.take() ?? []);
  setDraft("");
  askForArticles();
  warn("");
  keep();
  say(item);
  if (unwanted !== null) askAgain();
  $("log").scrollTop = 0;
  show();
}

const say = ({ client_id, body, files }) =>
  link.send({ type: "message", client_id, body, ...(files.length ? { files: files.map(({ id }) => id) } : {}) });

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // a page on plain http has only this
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** After a cut: all of it again, under the same ids. What had arrived is recognised and stays as it is. */
function resend() {
  unsent.forEach(say);
}

/** Too fast: the same words go out again a little later, and what only passes is left away until then. */
let quietUntil = 0;
function slowDown({ client_id, retry_after }) {
  quietUntil = Date.now() + retry_after * 1_000;
  setTimeout(() => {
    const item = unsent.find((one) => one.client_id === client_id);
    if (item) say(item);
    show();
  }, retry_after * 1_000);
}

/** The server has it: the optimistic copy becomes the message. */
function settle(client_id, { cursor, at, files }) {
  const index = unsent.findIndex((item) => item.client_id === client_id);
  if (index < 0) return false;
  const [{ element }] = unsent.splice(index, 1);
  keep();
  const after = nextMessage(element);
  dayOf(element)?.remove();
  if (shown.has(cursor)) {
    element.remove();
  } else {
    element.classList.remove("unsent");
    if (files) element.querySelector(".atts")?.replaceWith(list(files));
    stamp(element, at);
    place(element, cursor);
  }
  if (after?.isConnected) arrange(after);
  return true;
}

/** The server does not want it: the copy goes, the words come back into the composer. */
function refuse({ client_id, code, message }) {
  const index = unsent.findIndex((item) => item.client_id === client_id);
  if (index < 0) return;
  const [{ element, body, files: sent }] = unsent.splice(index, 1);
  const after = nextMessage(element);
  dayOf(element)?.remove();
  element.remove();
  arrange(after);
  if (code !== "files") files?.restore(sent);
  setDraft([body, $("body").value].filter(Boolean).join("\n"));
  keep();
  warn(TEXT.refused(message));
  show();
}

function setDraft(text) {
  const field = $("body");
  field.value = text;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
  offer();
}

/** Whether there is anything to send. */
function offer() {
  const nothing = !$("body").value.trim() && !files?.any;
  $("composer").querySelector(".send").setAttribute("aria-disabled", String(nothing));
}

/* ---- articles about what is being written: offered, never in the way of sending it ---- */

let asked = "";
let askSoon = 0;
function askForArticles() {
  clearTimeout(askSoon);
  const text = $("body").value.trim();
  if (text !== asked) suggest([]);
  const enough = text.length >= SUGGEST_FROM && text.includes(" ") && text.length <= SUGGEST_UP_TO;
  if (!document.body.dataset.help || !enough) return;
  askSoon = setTimeout(() => {
    if (text === asked || Date.now() < quietUntil || !link.ready) return;
    asked = text;
    link.send({ type: "suggest", text });
  }, SUGGEST_AFTER);
}

function suggest(articles) {
  $("suggest").hidden = !articles.length;
  $("suggested").replaceChildren(
    ...articles.map(({ title, slug }) => {
      const item = $("suggested-template").content.firstElementChild.cloneNode(true);
      const article = item.querySelector("a");
      article.href = `${document.body.dataset.help}articles/${encodeURIComponent(slug)}`; // nothing of what is unsent
      article.querySelector("span").textContent = title;
      return item;
    }),
  );
}

let typedAt = 0;
function typed() {
  setDraft($("body").value);
  warn(ended);
  keep();
  askForArticles();
  if (chat.conversation !== null && $("body").value && Date.now() > Math.max(typedAt + TYPING_EVERY, quietUntil)) {
    typedAt = Date.now();
    link.send({ type: "typing" });
  }
}

function warn(text) {
  if ($("alert-text").textContent === text) return;
  $("alert-text").textContent = text;
  $("alert").hidden = !text;
}

/* ---- showing ---- */

const scrolledUp = () => Math.abs($("log").scrollTop) > 80;

/** Set a text only when it differs: a live region would read it out again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Everything that follows from the state, each time from the whole of it. */
function show() {
  const resolved = chat.status === "resolved" && chat.conversation !== null;
  $("empty").hidden = shown.size > 0 || unsent.length > 0 || !link.ready;
  $("waiting").hidden = !chat.waiting || unsent.length > 0 || !$("typing").hidden || resolved;
  for (const { element } of unsent) {
    setText(element.querySelector(".fate"), ` · ${link.ready ? TEXT.sending : TEXT.unsent}`);
  }
  document.querySelectorAll(".mine:not(.unsent) .fate").forEach((fate) => setText(fate, ""));
  const events = [...document.querySelectorAll("[data-event=resolved]")];
  events.forEach((element, index) => {
    const last = resolved && index === events.length - 1;
    setText(element, TEXT.resolved(element.dataset.author) + (last ? TEXT.writeAgain : ""));
  });
  showRating(resolved);
  if (!scrolledUp()) $("jump").hidden = true;
  read();
}

/** The question, or what was answered: until somebody goes on with the conversation, which a low rating may have opened
    again. */
function showRating(resolved) {
  const last = [...shown.keys()].reduce((a, b) => Math.max(a, b), 0);
  const rateable = chat.conversation !== null && unsent.length === 0 && Boolean(shown.get(last)?.dataset.event);
  const asked = rateable && chat.asks && (resolved || chat.rating !== null);
  $("rate").hidden = !asked || (chat.rating !== null && !chat.changing);
  $("rated").hidden = !rateable || chat.rating === null || !$("rate").hidden;
  $("rate-again").hidden = !asked;
  if (!$("rated").hidden) $("waiting").hidden = true;
  setText($("rate-question"), TEXT.question(chat.helper));
  setText($("rated-words"), TEXT.rated(chat.rating));
  if (!rateable) {
    $("rate").reset();
    $("rate-more").hidden = true;
    chat.commented = false;
  }
}

/** What is on the screen counts as read; the rest is the number on the launcher. */
function read() {
  const news = [...shown].filter(([cursor, element]) => cursor > chat.seen && "reply" in element.dataset);
  const reading = open && !document.hidden && !scrolledUp() && Date.now() > quietUntil;
  if (news.length && reading && link.send({ type: "seen", cursor: chat.cursor })) {
    chat.seen = chat.cursor;
    news.length = 0;
  }
  tellHost({ type: "unread", count: news.length });
}

function setState(word) {
  if ($("state").dataset.state === word) return;
  $("state").dataset.state = word;
  $("state-word").textContent = TEXT[word];
  show();
}

function end(reason) {
  ended = reason;
  link.stop();
  warn(reason);
}

/** The server wants another token. Hosts can have one made, but not for ever: a refusal that stays is said. */
function renew(token, times) {
  if (times < MOST_REFUSALS) return tellHost({ type: "stale", token });
  end(TEXT.unwanted);
  unwanted = token;
}

/** The customer does something: that is worth another round. */
function askAgain() {
  const token = unwanted;
  proceed();
  tellHost({ type: "stale", token });
}

function proceed() {
  ended = "";
  unwanted = null;
  warn("");
}

/* ---- the page around us ---- */

const link = new Link({ socket: socketUrl.href, messages: document.body.dataset.messages }, {
  state: (word) => setState(word),
  frame: (frame) => heard[frame.type]?.(frame),
  where: () => ({ conversation: chat.conversation, after: chat.conversation === null ? null : chat.cursor }),
  refused: renew,
});

const files = $("file") && new Files($("file"), {
  token: () => link.token,
  changed: offer,
  say: warn,
  refused: () => link.restart(),
});
setInterval(() => document.querySelector("[data-file]") && link.send({ type: "links" }), LINKS_EVERY);

let unread = -1;
function tellHost(message) {
  if (message.type === "unread" && (message.count === unread || !hostOrigin)) return;
  if (message.type === "unread") unread = message.count;
  parent.postMessage({ cairnloop: true, ...message }, hostOrigin || "*");
}

const fromHost = {
  start(message) {
    if (message.title) $("title").textContent = document.title = $("title").dataset.own = message.title;
    open = message.open;
    show();
  },
  token({ token }) {
    proceed();
    link.start(token);
  },
  refused: () => end(TEXT.ended),
  open({ focus }) {
    open = true;
    if (focus) $("body").focus();
    show();
  },
  closed() {
    open = false;
  },
};

addEventListener("message", (event) => {
  const allowed = JSON.parse(document.body.dataset.origins);
  if (event.source !== parent || !allowed.includes(event.origin) || !event.data?.cairnloop) return;
  hostOrigin = event.origin;
  fromHost[event.data.type]?.(event.data);
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("body").addEventListener("input", typed);
$("body").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
$("rate").addEventListener("change", () => ($("rate-more").hidden = false));
$("rate").addEventListener("submit", (event) => {
  event.preventDefault();
  const rating = Number(new FormData($("rate")).get("rating"));
  if (!rating) return;
  const words = $("comment").value.trim();
  // Nothing in an empty field that never held anything: what was said on another page stays.
  const sent = link.send({ type: "rate", rating, comment: words || (chat.commented ? "" : null) });
  if (!sent) return;
  chat.commented ||= Boolean(words);
  chat.changing = false;
  show();
});
$("rate-again").addEventListener("click", () => {
  chat.changing = true;
  const given = $("rate").querySelector(`[value="${chat.rating}"]`);
  if (given) given.checked = true;
  $("rate-more").hidden = false;
  show();
  given?.focus();
});
$("log").addEventListener("scroll", () => scrolledUp() || show(), { passive: true });
$("jump").addEventListener("click", () => {
  $("log").scrollTop = 0;
  $("body").focus();
});
$("close").addEventListener("click", () => tellHost({ type: "close" }));
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) tellHost({ type: "close" });
});
document.addEventListener("visibilitychange", () => show());
if (files) {
  $("body").addEventListener("paste", (event) => files.paste(event));
  document.addEventListener("dragover", (event) => files.over(event));
  document.addEventListener("drop", (event) => files.drop(event));
}

setDraft($("body").value);
if (parent === window) end(TEXT.alone);
else tellHost({ type: "ready" });
