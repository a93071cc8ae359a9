/* The one map of shortcuts. Whoever has some adds them here; the sheet, the tooltips and the handling all read it. */
(() => {
  "use strict";

  const map = []; // { key, words, run, typing }
  const groups = new Map(); // title -> its entries, in the order of the sheet
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  let before = ""; // the first of two keys, for a moment
  let timer = 0;

  /* `key` is what a keyboard says ("j", "R", "?"), two of them one after the other ("g i"), or "Mod+Enter" with ⌘ or
     Ctrl. One with `typing` also works in a field. An entry without `run` is handled elsewhere and stands in the sheet. */
  function keys(title, entries) {
    groups.set(title, [...(groups.get(title) || []), ...entries]);
    map.push(...entries);
  }

  function spoken(key) {
    const one = (part) => ({ Mod: mac ? "⌘" : "Ctrl", Shift: "⇧", Enter: "⏎", Escape: "Esc" })[part]
      || (part.length === 1 && part !== part.toLowerCase() ? `⇧ ${part}` : part.toUpperCase());
    return key.split(" ").map((step) => step.split("+").map(one).join(" ")).join(" then ");
  }

  const nameOf = (event) => {
    const mod = event.metaKey || event.ctrlKey;
    const key = mod && event.key.length === 1 ? event.key.toLowerCase() : event.key;
    return `${mod ? "Mod+" : ""}${mod && event.shiftKey ? "Shift+" : ""}${key}`;
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey) return;
    const field = event.target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
    const name = nameOf(event);
    const busy = field || document.querySelector("dialog[open]");
    const fits = (key) => map.find((entry) => entry.key === key && entry.run && (entry.typing || !busy));
    const found = (before && fits(`${before} ${name}`)) || fits(name);
    clearTimeout(timer);
    before = "";
    if (found) {
      if (found.run(event, field) === false) return;
      event.preventDefault();
    } else if (!busy && map.some((entry) => entry.key.startsWith(`${name} `))) {
      before = name;
      timer = setTimeout(() => { before = ""; }, 1200);
    }
  });

  /* The sheet, made when it is opened: it lists what is in the map, whoever put it there. */
  function sheet() {
    const dialog = document.getElementById("keys");
    if (!dialog) return;
    const list = dialog.querySelector("dl");
    list.replaceChildren();
    for (const [title, entries] of groups) {
      const head = document.createElement("dt");
      head.className = "kgroup";
      head.textContent = title;
      list.append(head);
      for (const { key, words, also = [] } of entries) {
        const dt = document.createElement("dt");
        for (const one of [key, ...also]) {
          const kbd = document.createElement("kbd");
          kbd.textContent = spoken(one);
          dt.append(kbd, " ");
        }
        const dd = document.createElement("dd");
        dd.textContent = words;
        list.append(dt, dd);
      }
    }
    dialog.showModal();
  }

  /* Tooltips, and the hints inside buttons. */
  function hint() {
    for (const element of document.querySelectorAll("[data-key]:not([data-hinted])")) {
      const entry = map.find(({ key }) => key === element.dataset.key);
      if (!entry) continue;
      const hint = `${entry.words} (${spoken(entry.key)})`;
      element.title = element.title ? `${hint}. ${element.title}` : hint;
      element.dataset.hinted = "";
    }
    if (!mac) for (const key of document.querySelectorAll(".key")) {
      const words = key.textContent.replace("⌘⇧", "Ctrl ⇧ ").replace("⌘", "Ctrl ");
      if (words !== key.textContent) key.textContent = words;
    }
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-sheet]")) sheet();
  });
  keys("Everywhere", [{ key: "?", words: "This list", run: sheet }]);
  window.cairnloop = Object.assign(window.cairnloop || {}, { keys, hint });
})();
