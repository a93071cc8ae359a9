/* The line to the server: one WebSocket after another, with patience, and a heartbeat to notice a dead one. */

const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const STEADY = 10_000; // a line that held this long was good: the waits begin anew
const QUIET = 25_000; // without a word from the server this long, we ask
const SILENT = 8_000; // and without an answer this long, the line is dead
const REFUSED = 1008; // the server does not want this token: coming back with the same one is pointless

export class Link {
  #url;
  #on;
  #socket = null;
  #token = "";
  #joined = false;
  #everJoined = false;
  #attempts = 0;
  #joinedAt = 0;
  #refusals = 0; // in a row
  #retry = 0;
  #heardAt = 0;
  #askedAt = 0;

  /**
   * @param {string} url of the WebSocket
   * @param {{state: (word: string) => void, frame: (frame: object) => void, where: () => object,
   *          refused: (token: string, times: number) => void}} on
   *   state: connecting, connected, reconnecting, offline; where: what `join` says besides the token;
   *   refused: the server did not want this token, nor the ones before it: `times` in a row
   */
  constructor(url, on) {
    this.#url = url;
    this.#on = on;
    addEventListener("online", () => this.#again(0));
    addEventListener("offline", () => this.#drop());
    document.addEventListener("visibilitychange", () => document.hidden || this.#check(true));
    setInterval(() => this.#check(false), 2_000);
  }

  get ready() {
    return this.#joined;
  }

  /** Connect, or connect again, as the customer of this token: at once, unless a fresh one was refused as well. */
  start(token) {
    this.#token = token;
    this.#forget();
    if (this.#refusals > 1) return this.#again();
    this.#attempts = 0;
    this.#connect();
  }

  /** Give up the line, and do not come back until `start`. */
  stop() {
    this.#token = "";
    this.#refusals = 0;
    this.#forget();
    this.#on.state("offline");
  }

  /** Join once more on a new line. */
  restart() {
    this.#drop();
  }

  /** Whether the frame could be handed over; not whether it arrived. */
  send(frame) {
    if (!this.#joined) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #connect() {
    clearTimeout(this.#retry);
    if (!this.#token || this.#socket) return;
    if (!navigator.onLine) return this.#on.state("offline");
    this.#on.state(this.#everJoined ? "reconnecting" : "connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#heardAt = this.#askedAt = Date.now();
    socket.onopen = () => socket.send(JSON.stringify({ type: "join", token: this.#token, ...this.#on.where() }));
    socket.onmessage = (event) => this.#hear(JSON.parse(event.data));
    socket.onclose = (event) => this.#closed(event.code);
  }

  #hear(frame) {
    this.#heardAt = Date.now();
    this.#askedAt = 0;
    if (frame.type === "pong") return;
    if (frame.type === "joined") {
      this.#joined = this.#everJoined = true;
      this.#joinedAt = Date.now();
      this.#refusals = 0;
      this.#on.state("connected");
    }
    if (frame.type === "accepted") this.#attempts = 0; // joining alone is no sign of that: reading may work, writing not
    this.#on.frame(frame);
  }

  #closed(code) {
    this.#forget();
    if (code !== REFUSED) return this.#again();
    const token = this.#token;
    this.#token = ""; // nothing wakes the line up with it again
    this.#refusals += 1;
    this.#on.state("offline");
    this.#on.refused(token, this.#refusals);
  }

  /** Come back later, after a wait that grows and that no two clients share. */
  #again(wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts) * (0.5 + Math.random() / 2)) {
    if (!this.#token || this.#socket) return;
    this.#attempts += 1;
    this.#on.state(navigator.onLine ? (this.#everJoined ? "reconnecting" : "connecting") : "offline");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #check(now) {
    const moment = Date.now();
    if (!this.#socket) return now && this.#again(0);
    if (this.#askedAt && moment - this.#askedAt > SILENT) return this.#drop();
    if (this.#joined && !this.#askedAt && (now || moment - this.#heardAt > QUIET)) {
      this.#askedAt = moment;
      this.send({ type: "ping" });
    }
  }

  #drop() {
    this.#forget();
    this.#again();
  }

  #forget() {
    clearTimeout(this.#retry);
    if (this.#joinedAt && Date.now() - this.#joinedAt > STEADY) this.#attempts = 0;
    const socket = this.#socket;
    this.#socket = null;
    this.#joined = false;
    this.#joinedAt = 0;
    this.#askedAt = 0;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}
