/* Files: how messages show them, and how they are chosen, uploaded one by one, and taken out again before they are sent.
   A name is somebody's text: it is only ever put into text nodes and attributes that hold text. */

const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const KINDS = { "image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP", "application/pdf": "PDF", "application/zip": "ZIP" };
const UNITS = [["MB", 1024 * 1024], ["KB", 1024], ["bytes", 1]];
const TEXT = {
  uploading: "Uploading",
  cut: "Not uploaded, no connection",
  failed: "Not uploaded. Something went wrong.",
  large: (name, size) => `“${name}” was not added: it is larger than ${size}.`,
  empty: (name) => `“${name}” was not added: it is empty.`,
  many: (most) => `A message takes at most ${most} ${most === 1 ? "file" : "files"}.`,
  remove: (name) => `Remove ${name}`,
  download: (name, facts) => `Download ${name}, ${facts}`,
};

const clone = (name) => document.getElementById(`${name}-template`).content.firstElementChild.cloneNode(true);

function spoken(bytes) {
  const [unit, of] = UNITS.find(([, least]) => bytes >= least) || UNITS[2];
  return `${Math.round((bytes / of) * 10) / 10} ${unit}`;
}

/** The files of a message. Without an address, as before the server has it, there is nothing to open. */
export function list(files) {
  const all = document.createElement("ul");
  all.className = "atts";
  for (const { id, name, type, size, url } of files) {
    const picture = PICTURES.includes(type) && url;
    const entry = clone(picture ? "picture" : "file");
    const address = entry.querySelector("a");
    if (url) address.href = url;
    if (url && !url.startsWith("blob:")) address.dataset.file = id;
    if (picture) {
      Object.assign(entry.querySelector("img"), { src: url, alt: name });
    } else {
      const facts = `${KINDS[type] || "Text"}, ${spoken(size)}`;
      entry.querySelector(".att-name").textContent = name;
      entry.querySelector(".att-facts").textContent = facts;
      if (url) address.setAttribute("aria-label", TEXT.download(name, facts));
    }
    all.append(entry);
  }
  return all;
}

export class Files {
  #on;
  #chips = document.getElementById("chips");
  #chosen = []; // {file, name, size, told: what the server said of it, request, trouble, element}
  #then = null;
  #url = document.body.dataset.files;
  #most = Number(document.body.dataset.most);
  #largest = Number(document.body.dataset.size);

  /**
   * @param {HTMLInputElement} field
   * @param {{token: () => string, changed: () => void, say: (text: string) => void, refused: () => void}} on
   *   refused: the server did not want this token
   */
  constructor(field, on) {
    this.#on = on;
    field.addEventListener("change", () => {
      this.#add([...field.files]);
      field.value = "";
      document.getElementById("body").focus();
    });
  }

  /** Whether there is a file to send, or one that is on its way. */
  get any() {
    return this.#chosen.some(({ told, request }) => told || request);
  }

  get busy() {
    return this.#chosen.some(({ request }) => request);
  }

  /** Do this once nothing is being uploaded any more. */
  afterwards(then) {
    this.#then = then;
  }

  /** The files that are there, which are no longer to be chosen; the others stay. */
  take() {
    const there = this.#chosen.filter(({ told }) => told);
    for (const { element } of there) element.remove();
    this.#chosen = this.#chosen.filter(({ told }) => !told);
    this.#show();
    return there.map(({ told, preview }) => ({ ...told, ...(preview ? { url: preview } : {}) }));
  }

  /** Somebody else is here: what was chosen is not theirs. */
  clear() {
    for (const one of [...this.#chosen]) this.#remove(one);
  }

  /** Back into the composer: the message they were in was not taken. */
  restore(files) {
    for (const { url, ...told } of files) {
      this.#put({ name: told.name, size: told.size, told, preview: url?.startsWith("blob:") ? url : "" });
    }
    this.#show();
  }

  paste(event) {
    const { files, types } = event.clipboardData;
    if (!files.length || types.includes("text/plain")) return; // words that bring a picture of themselves are words
    event.preventDefault();
    this.#add([...files]);
  }

  over(event) {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  }

  drop(event) {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    this.#add([...event.dataTransfer.files]);
  }

  #add(files) {
    let trouble = "";
    for (const file of files) {
      if (this.#chosen.length >= this.#most) trouble = TEXT.many(this.#most);
      else if (file.size > this.#largest) trouble = TEXT.large(file.name, spoken(this.#largest));
      else if (!file.size) trouble = TEXT.empty(file.name);
      else {
        const preview = PICTURES.includes(file.type) ? URL.createObjectURL(file) : "";
        this.#upload(this.#put({ file, name: file.name, size: file.size, preview }));
      }
    }
    this.#on.say(trouble);
    this.#show();
  }

  #put(one) {
    one.element = clone("chip");
    one.element.querySelector(".att-name").textContent = one.name;
    const picture = one.element.querySelector("img");
    if (one.preview) {
      picture.src = one.preview;
      picture.hidden = false;
      picture.nextElementSibling.remove();
      picture.addEventListener("error", () => picture.remove()); // it is none, whatever it is called
    }
    const remove = one.element.querySelector(".icon-button");
    remove.setAttribute("aria-label", TEXT.remove(one.name));
    remove.addEventListener("click", () => {
      this.#remove(one);
      this.#on.say("");
      document.getElementById("body").focus();
    });
    one.element.querySelector(".again").addEventListener("click", () => this.#upload(one));
    this.#chosen.push(one);
    this.#chips.append(one.element);
    return one;
  }

  #remove(one) {
    one.request?.abort();
    this.#chosen = this.#chosen.filter((other) => other !== one);
    one.element.remove();
    if (one.preview) URL.revokeObjectURL(one.preview);
    this.#ended(one, "", false);
  }

  #upload(one) {
    const form = new FormData();
    form.append("token", this.#on.token());
    form.append("file", one.file, one.name);
    const request = (one.request = new XMLHttpRequest());
    request.open("POST", this.#url);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => (one.element.querySelector("progress").value = total ? loaded / total : 0);
    request.onload = () => this.#answered(one, request);
    request.onerror = () => this.#ended(one, TEXT.cut, true);
    request.send(form);
    one.trouble = "";
    this.#show();
  }

  #answered(one, { status, response }) {
    if (status === 200 && response?.id) {
      one.told = response;
      one.size = response.size;
      return this.#ended(one, "", false);
    }
    if (status === 401) this.#on.refused();
    this.#ended(one, response?.message || TEXT.failed, status === 401 || status === 429 || status >= 500);
  }

  /** It is there, or it is not: then this says why, and nothing is sent by itself any more. */
  #ended(one, trouble, again) {
    Object.assign(one, { request: null, trouble, again });
    if (trouble) this.#then = null;
    this.#show();
    if (!this.#then || this.busy) return;
    const then = this.#then;
    this.#then = null;
    then();
  }

  #show() {
    for (const { element, request, trouble, size, file, again } of this.#chosen) {
      element.classList.toggle("troubled", Boolean(trouble));
      const words = trouble || (request ? TEXT.uploading : spoken(size));
      const facts = element.querySelector(".att-facts");
      if (facts.textContent !== words) facts.textContent = words;
      element.querySelector("progress").hidden = !request;
      element.querySelector(".again").hidden = !trouble || !again || !file;
    }
    this.#chips.hidden = !this.#chosen.length;
    this.#on.changed();
  }
}
