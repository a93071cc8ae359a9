/* Files of a reply or a note: chosen, pasted or dropped, shown before they go and taken out again. They stand in the
   form's own field, and the form sends them as it does without this script. */
(() => {
  "use strict";
  const UNITS = [["MB", 1024 * 1024], ["KB", 1024], ["bytes", 1]];

  function size(bytes) {
    const [unit, of] = UNITS.find(([, least]) => bytes >= least) || UNITS[2];
    return `${Math.round((bytes / of) * 10) / 10} ${unit}`;
  }

  const inputOf = (form) => form.querySelector("[data-attach]");

  function say(form, words) {
    const line = form.querySelector("[data-attach-say]");
    line.textContent = words;
    line.hidden = !words;
  }

  /** What was chosen before a second choice replaced it in the field. */
  const held = new WeakMap();

  function set(form, files) {
    const carrier = new DataTransfer();
    files.forEach((file) => carrier.items.add(file));
    inputOf(form).files = carrier.files;
    held.set(form, files);
    form.querySelector("textarea").required = !files.length; // a file needs no words beside it
    const list = form.querySelector("[data-chosen]");
    list.hidden = !files.length;
    list.replaceChildren(...files.map((file, at) => item(form, file, at)));
  }

  function item(form, file, at) {
    const entry = document.createElement("li");
    const name = document.createElement("bdi");
    const facts = document.createElement("span");
    const remove = document.createElement("button");
    name.textContent = name.title = file.name;
    facts.className = "att-facts";
    facts.textContent = size(file.size);
    Object.assign(remove, { type: "button", className: "btn btn-ghost btn-icon", textContent: "×" });
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", () => {
      set(form, held.get(form).filter((_, other) => other !== at));
      say(form, "");
      (form.querySelector("[data-chosen] button") || form.querySelector("textarea")).focus();
    });
    entry.append(name, facts, remove);
    return entry;
  }

  function add(form, more) {
    const { most, size: largest } = inputOf(form).dataset;
    const fitting = [...more].filter((file) => file.size && file.size <= Number(largest));
    const all = [...(held.get(form) || []), ...fitting];
    set(form, all.slice(0, Number(most)));
    if (all.length > Number(most)) say(form, `A message takes at most ${most} files.`);
    else if (fitting.length < more.length) say(form, `A file is larger than ${size(Number(largest))}, or empty, and was left out.`);
    else say(form, "");
  }

  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-attach]")) return;
    add(event.target.form, event.target.files);
    event.target.form.querySelector("textarea").focus();
  });

  document.addEventListener("paste", (event) => {
    const form = event.target.closest?.(".cfield");
    const { files, types } = event.clipboardData;
    if (!form || !inputOf(form) || !files.length || types.includes("text/plain")) return; // words with a picture are words
    event.preventDefault();
    add(form, files);
  });

  const box = (event) => event.dataTransfer?.types.includes("Files") && event.target.closest?.(".cbox");
  document.addEventListener("dragover", (event) => {
    if (!box(event)?.querySelector("[data-attach]")) return;
    event.preventDefault();
    box(event).classList.add("is-over");
  });
  document.addEventListener("dragleave", (event) => box(event) && box(event).classList.remove("is-over"));
  document.addEventListener("drop", (event) => {
    const over = box(event);
    const form = [...(over?.querySelectorAll(".cfield") || [])].find((one) => one.offsetParent && inputOf(one));
    if (!form) return;
    event.preventDefault();
    over.classList.remove("is-over");
    add(form, event.dataTransfer.files);
  });

  document.addEventListener("cairnloop:sent", ({ detail }) => {
    const form = document.getElementById(`${detail.mode}-form`);
    if (form && inputOf(form) && form.closest("[data-conversation]").dataset.conversation === String(detail.conversation)) set(form, []);
  });
})();
