/* The editor of articles: the preview follows what is typed, the draft is kept while one writes, and nobody leaves, or
   saves over a colleague, without knowing. Without it the page is a plain form with a preview of what was saved. */
(() => {
  "use strict";

  const form = document.getElementById("editor");
  if (!form) return;
  const { body, title, edits, base } = form.elements;
  const state = document.getElementById("save-state");
  const preview = document.getElementById("preview");
  const show = preview.closest("section");
  const collision = document.getElementById("collision");

  const KEEP_AFTER = 1200; // milliseconds without a key
  const SHOW_AFTER = 300;

  /* The newest form token: the host's runs out while a page stays open. */
  const token = () => (document.querySelector("#outage input[name=csrf_token]") || form.elements.csrf_token)?.value;

  /* ---------- what was typed, and what of it is kept ---------- */

  const FIELDS = ["title", "body", "audience", "category", "tags", "language", "slug"];
  const typed = () => JSON.stringify(FIELDS.map((name) => form.elements[name].value));
  let kept = typed();
  let leaving = false; // by a button of the form, which sends everything
  let stopped = false; // somebody else has saved: nothing is kept before the two are brought together

  function say(words, wrong = false) {
    state.textContent = words;
    state.classList.toggle("is-wrong", wrong);
  }

  function message(fields) {
    const data = new URLSearchParams(fields);
    if (token()) data.set("csrf_token", token());
    return { method: "POST", body: data, headers: { "HX-Request": "true" } };
  }

  let waiting = 0;
  let sending = false;

  function later() {
    clearTimeout(waiting);
    if (!stopped) waiting = setTimeout(keep, KEEP_AFTER);
  }

  /* One at a time: the answer to one says what the next one has to know. */
  async function keep() {
    clearTimeout(waiting);
    const now = typed();
    if (stopped || leaving || sending || now === kept) return;
    if (!title.value.trim() || !body.value.trim()) {
      say("Not saved yet: an article needs a title and a text");
      return;
    }
    sending = true;
    say("Saving…");
    try {
      await send(now);
    } catch {
      say("Not saved: no answer from the server. Your words are still here.", true);
      waiting = setTimeout(keep, 10000);
    } finally {
      sending = false;
    }
    if (typed() !== now && !stopped) later();
  }

  async function send(now) {
    const fields = Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value]));
    const written = body.value;
    const answer = await fetch(form.action, message({ ...fields, edits: edits.value, auto: "1" }));
    if (leaving) return;
    const told = answer.headers.get("Content-Type")?.startsWith("application/json") ? await answer.json() : null;
    if (answer.ok && told) {
      kept = now;
      edits.value = told.edits;
      base.value = written;
      if (form.getAttribute("action") !== told.address) { // it has begun to be an article
        form.setAttribute("action", told.address);
        history.replaceState(history.state, "", told.address);
      }
      say(`Saved ${told.at}`);
    } else if (answer.status === 409 && told) {
      stopped = true;
      say("Not saved", true);
      collision.querySelector("span").textContent = `${told.who} saved a newer draft ${told.at}. Your words are here, and nothing of either is lost.`;
      collision.hidden = false;
    } else if (answer.status === 422 && told) {
      say(`Not saved. ${told.message}`, true);
    } else if (answer.status === 401 || answer.status === 204) {
      say("Not saved: you are signed out. Sign in in another tab, then go on.", true);
      waiting = setTimeout(keep, 10000);
    } else {
      say("Not saved: the server could not take it. Your words are still here.", true);
      waiting = setTimeout(keep, 10000);
    }
  }

  /* ---------- preview ---------- */

  let drawn = body.value;
  let drawing = 0;
  let newest = 0;

  function draw() {
    clearTimeout(drawing);
    drawing = setTimeout(async () => {
      if (body.value === drawn) return;
      const text = body.value;
      const mine = ++newest;
      try {
        const answer = await fetch(form.dataset.preview, message({ body: text }));
        if (!answer.ok || answer.status === 204 || mine !== newest) return;
        const html = await answer.text();
        if (mine !== newest) return;
        preview.innerHTML = html; // sanitised by the server, as on the article's own page
        drawn = text;
      } catch { /* the state beside the title says that there is no answer */ }
    }, SHOW_AFTER);
  }

  function count() {
    const words = body.value.trim() ? body.value.trim().split(/\s+/).length : 0;
    document.getElementById("word-count").textContent = words === 1 ? "1 word" : `${words.toLocaleString("en")} words`;
  }

  /* The preview stands where the text stands. */
  body.addEventListener("scroll", () => {
    const room = body.scrollHeight - body.clientHeight;
    if (room > 0) show.scrollTop = (body.scrollTop / room) * (show.scrollHeight - show.clientHeight);
  }, { passive: true });

  /* ---------- what a person does ---------- */

  form.addEventListener("input", (event) => {
    if (event.target.name === "shown") return;
    if (event.target === body) {
      draw();
      count();
    }
    if (typed() === kept) return;
    if (!stopped && !sending) say("Not saved yet");
    later();
  });
  form.addEventListener("change", (event) => { if (event.target.name !== "shown") keep(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) keep(); });

  /* A link in the preview would lead away from what is being written. */
  preview.addEventListener("click", (event) => { if (event.target.closest("a")) event.preventDefault(); });

  document.addEventListener("keydown", (event) => {
    if ((event.metaKey || event.ctrlKey) && !event.shiftKey && !event.altKey && event.key.toLowerCase() === "s") {
      event.preventDefault();
      keep();
    }
  });

  form.addEventListener("submit", (event) => {
    if (sending) { // wait for what is under way: it says which version this one builds on
      event.preventDefault();
      const button = event.submitter;
      const again = setInterval(() => {
        if (sending) return;
        clearInterval(again);
        form.requestSubmit(button);
      }, 50);
      return;
    }
    clearTimeout(waiting);
    leaving = true;
  });
  window.addEventListener("pageshow", () => { leaving = false; });
  window.addEventListener("beforeunload", (event) => {
    if (!leaving && typed() !== kept) event.preventDefault();
  });

  count();
})();
