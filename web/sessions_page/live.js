// Keeps the list true while the page is open: by events where the socket lives, else by reading it
// again. Nothing is replayed on a new socket, so each begins with the list as it is then.

import { Ended, kindOf } from "./api.js";
import { current, verdict } from "./caller.js";
import { EVENTS, HOME } from "./operations.js";
import { Socket } from "./socket.js";

const LONGEST = 30_000; // ms between two attempts
const RESTART = 1012; // the server comes back: at once, but not everybody in the same moment
const COME_BACK = 1013;
const ENDED = 4401;
const HOPELESS = new Set([1008, 1009, 1011, 4400, 4406, 4409, 4429]); // trying again is no use

export class Live {
  #page; // show(state), read() over HTTP, replace(home), take(event)
  #socket = null;
  #timer;
  #attempts = 0;
  #state = "off";

  constructor(page) {
    this.#page = page;
    document.addEventListener("visibilitychange", () => this.#return());
    window.addEventListener("focus", () => this.#return());
    window.addEventListener("online", () => this.#return());
  }

  get isLive() {
    return this.#state === "live";
  }

  start() {
    this.stop();
    this.#attempts = 0;
    this.#show("connecting");
    this.#connect();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = null;
    this.#show("stopped");
  }

  #connect() {
    const token = current();
    const socket = new Socket(token, {
      whenReady: () => {
        const error = ([first]) => this.#refused(token, first);
        const take = ({ mySessionEvents: event }) => this.#page.take(event);
        socket.start(EVENTS, { next: take, error });
        // On the same socket: the server begins it after the subscription, so nothing is missed.
        socket.start(HOME, { next: (home) => this.#isLive(home), error });
      },
      whenClosed: (code) => this.#closed(code),
    });
    this.#socket = socket;
  }

  #isLive(home) {
    this.#attempts = 0;
    this.#show("live");
    this.#page.replace(home);
  }

  // The reason of an end comes with the operation's error; the close that follows has none.
  #refused(token, error) {
    const kind = kindOf(error);
    if (kind instanceof Ended) {
      verdict(token, kind);
    } else { // a socket without its operations is of no use
      this.#socket?.close();
      this.#closed(COME_BACK);
    }
  }

  #closed(code) {
    this.#socket = null;
    if (HOPELESS.has(code)) {
      this.#show("off");
      return;
    }
    this.#show("away");
    this.#later(code === RESTART || code === ENDED ? 500 : 1000 * 2 ** this.#attempts);
    this.#attempts += 1;
  }

  // Half of the wait is drawn by lot, so that a crowd does not come back as one.
  #later(milliseconds) {
    clearTimeout(this.#timer);
    const wait = Math.min(milliseconds, LONGEST) * (0.5 + Math.random() / 2);
    this.#timer = setTimeout(() => this.#again(), wait);
  }

  // A window at which nobody looks asks for nothing: that would count as use of the session.
  async #again() {
    if (document.hidden) {
      return;
    }
    clearTimeout(this.#timer);
    await this.#page.read(); // which also learns why, if the session has ended
    if (this.#state !== "stopped" && !this.#socket) {
      this.#connect();
    }
  }

  #return() {
    if (this.#state !== "stopped" && !document.hidden) {
      this.#attempts = 0;
      this.#again();
    }
  }

  #show(state) {
    this.#state = state;
    this.#page.show(state);
  }
}
