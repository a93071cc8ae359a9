/* The line where no WebSocket comes through: the same frames by POST, asked for again and again. */

const EVERY = 3_000;
const EVERY_HIDDEN = 10_000;
const MOST_FRAMES = 15; // of ours in one request, and
const MOST_TEXT = 300_000; // characters
const CODES = { 401: 1008, 503: 1013 }; // what a socket would have been closed with; anything else is a broken line

export class Poll {
  onframe = null;
  onclose = null;
  #url;
  #join;
  #queue = [];
  #asking = null;
  #timer = 0;
  #ended = false;
  #joined = false;
  #conversation = null;

  /**
   * @param {string} url to POST to
   * @param {() => object} join what `join` says now: every request begins with it
   */
  constructor(url, join) {
    this.#url = url;
    this.#join = join;
    this.#timer = setTimeout(() => this.#ask());
  }

  send(text) {
    this.#queue.push(text);
    if (!this.#asking) this.#next(0);
  }

  close() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#asking?.abort();
  }

  #next(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    this.#asking = new AbortController();
    let status = 0;
    let frames = [];
    try {
      const answer = await fetch(this.#url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: `[${[JSON.stringify(this.#join()), ...this.#take()]}]`,
        signal: this.#asking.signal,
      });
      status = answer.status;
      frames = [...(await answer.json())];
    } catch {
      if (!CODES[status]) status = 0; // unreachable, or an answer that is not ours
    }
    this.#asking = null;
    for (const frame of frames) this.#ended || this.#hear(frame);
    if (this.#ended) return;
    if (status === 200) return this.#next(this.#queue.length ? 0 : document.hidden ? EVERY_HIDDEN : EVERY);
    this.close();
    this.onclose({ code: CODES[status] || 1006 });
  }

  #take() {
    let text = 0;
    const fits = this.#queue.findIndex((item, index) => index >= MOST_FRAMES || (text += item.length) > MOST_TEXT);
    return this.#queue.splice(0, fits < 0 ? this.#queue.length : Math.max(1, fits));
  }

  /** The first `joined`, or one of another conversation, is what it is. Else a socket would have said only what is new. */
  #hear(frame) {
    if (frame.type === "accepted") this.#conversation = frame.conversation;
    if (frame.type !== "joined" || !this.#joined || frame.conversation !== this.#conversation) {
      if (frame.type === "joined") [this.#joined, this.#conversation] = [true, frame.conversation];
      return this.onframe(frame);
    }
    this.onframe({ type: "pong" });
    for (const message of frame.messages) this.onframe(message);
    if (frame.conversation === null) return;
    this.onframe({ type: "status", status: frame.status, waiting: frame.waiting, rating: frame.rating, asks: frame.asks });
    this.onframe({ type: "seen", cursor: frame.seen });
  }
}
