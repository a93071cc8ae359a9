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
  let uploading = 0; // files on their way, for each of which a word stands in the text
  function later() {
    clearTimeout(waiting);
    if (!stopped) waiting = setTimeout(keep, KEEP_AFTER);
  }

  /* One at a time: the answer to one says what the next one has to know. */
  async function keep() {
    clearTimeout(waiting);
    const now = typed();
    if (stopped || leaving || sending || uploading || now === kept) return;
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

  /* ---------- images and files ---------- */

  const adding = document.getElementById("adding"); // none where the app keeps no files
  const told = document.getElementById("file-state");

  function tell(words, wrong = false) {
    told.textContent = words;
    told.classList.toggle("is-wrong", wrong);
  }

  /* What stands in the text in place of something, without losing where one writes. */
  function put(text, start, end, mode) {
    body.setRangeText(text, start, end, mode);
    body.dispatchEvent(new Event("input", { bubbles: true }));
  }

  function post(file, progress) {
    return new Promise((resolve, reject) => {
      const data = new FormData();
      data.append("file", file, file.name);
      if (token()) data.append("csrf_token", token());
      const request = new XMLHttpRequest(); // fetch does not say how far it is
      request.open("POST", adding.dataset.address);
      request.setRequestHeader("HX-Request", "true");
      request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) progress(event.loaded / event.total); });
      request.addEventListener("error", () => reject(new Error("no answer from the server")));
      request.addEventListener("load", () => {
        const json = request.getResponseHeader("Content-Type")?.startsWith("application/json");
        const answer = json ? JSON.parse(request.responseText) : null;
        if (request.status === 200 && answer) resolve(answer);
        else if (answer?.message) reject(new Error(answer.message));
        else if (request.status === 413) reject(new Error(adding.dataset.tooLong));
        else reject(new Error(request.status === 401 || request.status === 204 ? "you are signed out. Sign in in another tab, then go on" : "the server could not take it"));
      });
      request.send(data);
    });
  }

  /* Returns what went wrong, or nothing. */
  async function upload(file, more) {
    if (file.size > Number(adding.dataset.limit)) return `${file.name}: ${adding.dataset.tooLong}`;
    const mark = `[${file.name.replace(/[\[\]\n]/g, "")} is on its way ${Math.random().toString(36).slice(2, 6)}…]`;
    uploading += 1;
    put(mark, body.selectionStart, body.selectionEnd, "end");
    let text = "";
    let trouble = "";
    try {
      tell(`${file.name}: on its way`);
      const answer = await post(file, (share) => tell(`${file.name}: ${Math.round(share * 100)} %`));
      text = answer.markdown;
      tell(answer.image ? `${answer.name} is in the text. Say in the brackets what it shows.` : `${answer.name} is in the text.`);
    } catch (error) {
      trouble = `${file.name} was not added: ${error.message}`;
    }
    uploading -= 1;
    const at = body.value.indexOf(mark);
    if (at < 0) return trouble; // taken out meanwhile
    const writing = body.selectionStart !== at + mark.length; // one has gone on elsewhere
    if (more && text) text += "\n\n"; // the next one stands below it
    put(text, at, at + mark.length, writing ? "preserve" : "end");
    const words = /^!\[((?:[^\]\\]|\\.)*)\]/.exec(text);
    if (words && !more && !writing && document.activeElement === body) body.setSelectionRange(at + 2, at + 2 + words[1].length);
    return trouble;
  }

  async function uploadAll(files) {
    const all = [...files]; // the list is gone with its event
    const troubles = [];
    for (const [number, file] of all.entries()) troubles.push(await upload(file, number + 1 < all.length));
    if (troubles.some(Boolean)) tell(troubles.filter(Boolean).join(" "), true);
    keep();
  }

  if (adding) {
    document.getElementById("adding-plain").hidden = true;
    adding.hidden = false;
    const chooser = adding.querySelector("input");
    chooser.addEventListener("change", (event) => {
      event.stopPropagation();
      const chosen = [...chooser.files];
      chooser.value = "";
      body.focus();
      uploadAll(chosen);
    });
    body.addEventListener("paste", (event) => {
      const { files, types } = event.clipboardData;
      if (!files.length || types.includes("text/plain")) return; // words that bring a picture of themselves are words
      event.preventDefault();
      uploadAll(files);
    });
    const brings = (event) => event.dataTransfer?.types.includes("Files");
    body.addEventListener("dragover", (event) => {
      if (!brings(event)) return;
      event.preventDefault();
      body.classList.add("is-over");
    });
    body.addEventListener("dragleave", () => body.classList.remove("is-over"));
    body.addEventListener("drop", (event) => {
      body.classList.remove("is-over");
      if (!brings(event)) return;
      event.preventDefault();
      uploadAll(event.dataTransfer.files);
    });
  }

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
    if (sending || uploading) { // wait for what is under way: it says which version this one builds on
      event.preventDefault();
      const button = event.submitter;
      const again = setInterval(() => {
        if (sending || uploading) return;
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
