/* The line to the server: one WebSocket after another, with patience, and a heartbeat to notice a dead one. Where none
   comes through it asks by POST, and goes back to a socket as soon as there is one. */

import { Poll } from "./poll.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 30_000;
const STEADY = 10_000; // a line that held this long was good: the waits begin anew
const QUIET = 25_000; // without a word from the server this long, we ask
const SILENT = 8_000; // and without an answer this long, the line is dead
const REFUSED = 1008; // the server does not want this token: coming back with the same one is pointless
const BROKEN = [1005, 1006, 1015]; // no word of the server's: the socket did not come through, or was cut
const MOST_MUTE = 2; // sockets in a row that brought nothing, before we ask by POST
const TRY_SOCKET = 60_000; // and then this long until the next one is tried

export class Link {
  #urls;
  #on;
  #line = null; // a WebSocket or a Poll
  #trial = null; // a WebSocket that may take over from a Poll
  #triedAt = 0;
  #heard = false; // on this line
  #mute = 0; // sockets in a row that brought nothing
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
   * @param {{socket: string, messages: string}} urls
   * @param {{state: (word: string) => void, frame: (frame: object) => void, where: () => object,
   *          refused: (token: string, times: number) => void}} on
   *   state: connecting, connected, reconnecting, offline; where: what `join` says besides the token;
   *   refused: the server did not want this token, nor the ones before it: `times` in a row
   */
  constructor(urls, on) {
    this.#urls = urls;
    this.#on = on;
    addEventListener("online", () => this.#again(0));
    addEventListener("offline", () => this.#drop());
    document.addEventListener("visibilitychange", () => document.hidden || this.#check(true));
    setInterval(() => this.#check(false), 2_000);
  }

  get ready() {
    return this.#joined;
  }

  get token() {
    return this.#token;
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
    this.#line.send(JSON.stringify(frame));
    return true;
  }

  #join() {
    return { type: "join", token: this.#token, ...this.#on.where() };
  }

  #connect() {
    clearTimeout(this.#retry);
    if (!this.#token || this.#line) return;
    if (!navigator.onLine) return this.#on.state("offline");
    this.#on.state(this.#everJoined ? "reconnecting" : "connecting");
    this.#triedAt = Date.now();
    if (this.#mute < MOST_MUTE) return this.#use(new WebSocket(this.#urls.socket));
    const poll = new Poll(this.#urls.messages, () => this.#join());
    this.#use(poll);
    poll.onframe = (frame) => this.#hear(frame);
  }

  #use(line) {
    this.#line = line;
    this.#heard = false;
    this.#heardAt = this.#askedAt = Date.now();
    line.onopen = () => line.send(JSON.stringify(this.#join()));
    line.onmessage = (event) => this.#hear(JSON.parse(event.data));
    line.onclose = (event) => this.#closed(event.code);
  }

  /** Beside a Poll that goes on meanwhile: once a socket is open it takes over, and joins where we are by then. */
  #trySocket() {
    this.#triedAt = Date.now();
    this.#trial?.close();
    const trial = (this.#trial = new WebSocket(this.#urls.socket));
    trial.onopen = () => {
      if (this.#trial !== trial) return;
      this.#trial = null;
      this.#forget();
      this.#use(trial);
      trial.onopen();
    };
  }

  #hear(frame) {
    this.#heardAt = Date.now();
    this.#askedAt = 0;
    this.#heard = true;
    if (!this.#polls) this.#mute = 0;
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

  get #polls() {
    return this.#line instanceof Poll;
  }

  #closed(code) {
    if (BROKEN.includes(code)) this.#cut();
    this.#forget();
    if (code !== REFUSED) return this.#again();
    const token = this.#token;
    this.#token = ""; // nothing wakes the line up with it again
    this.#refusals += 1;
    this.#on.state("offline");
    this.#on.refused(token, this.#refusals);
  }

  /** The line ended without a goodbye. Where a Poll does as badly as the sockets, it is not they that are blocked. */
  #cut() {
    if (!this.#heard && navigator.onLine) this.#mute = this.#polls ? MOST_MUTE - 1 : this.#mute + 1;
  }

  /** Come back later, after a wait that grows and that no two clients share. */
  #again(wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#attempts) * (0.5 + Math.random() / 2)) {
    if (!this.#token || this.#line) return;
    this.#attempts += 1;
    this.#on.state(navigator.onLine ? (this.#everJoined ? "reconnecting" : "connecting") : "offline");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#connect(), wait);
  }

  #check(now) {
    const moment = Date.now();
    if (!this.#line) return now && this.#again(0);
    if (this.#polls && this.#joined && moment - this.#triedAt > TRY_SOCKET) this.#trySocket();
    if (this.#askedAt && moment - this.#askedAt > SILENT) return this.#drop();
    if (this.#joined && !this.#askedAt && (now || moment - this.#heardAt > QUIET)) {
      this.#askedAt = moment;
      this.send({ type: "ping" });
    }
  }

  #drop() {
    this.#cut();
    this.#forget();
    this.#again();
  }

  #forget() {
    clearTimeout(this.#retry);
    if (this.#joinedAt && Date.now() - this.#joinedAt > STEADY) this.#attempts = 0;
    const lines = [this.#line, this.#trial];
    this.#line = this.#trial = null;
    this.#joined = false;
    this.#joinedAt = 0;
    this.#askedAt = 0;
    for (const line of lines) {
      if (!line) continue;
      line.onopen = line.onmessage = line.onframe = line.onclose = null;
      line.close();
    }
  }
}
