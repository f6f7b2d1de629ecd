// Who calls: the token, and what becomes of it. It stands here and in sessionStorage, which ends
// with the window; never in a URL, a title, the history, the console, or what outlives the window.

import { Away, Ended, ask, unwrap } from "./api.js";
import { CREATE } from "./operations.js";

const NAME = "bigtwo-sessions.token";

let token = sessionStorage.getItem(NAME);
const underWay = new Set(); // of what may put another token in this one's place, or end it
let listeners;

export const current = () => token;

// begun(): there is a new token; left(): it was given up; ended(error): it was refused.
export function listen(to) {
  listeners = to;
}

function keep(next) {
  token = next;
  if (next) {
    sessionStorage.setItem(NAME, next);
    listeners.begun();
  } else {
    sessionStorage.removeItem(NAME);
  }
}

// The data of an operation as the caller. Throws what ask throws.
export async function call(query, variables) {
  const used = token;
  try {
    return await ask(query, variables, used);
  } catch (error) {
    if (error instanceof Ended) {
      await verdict(used, error);
    }
    throw error;
  }
}

// The payload of a mutation as the caller.
export async function act(query, variables) {
  return unwrap(await call(query, variables));
}

// A mutation that answers a new token, which takes the old one's place.
export function exchange(query, variables) {
  return alone(query, variables, (payload) => payload.token);
}

// A mutation that ends the caller's own session.
export async function leave(query, variables) {
  await alone(query, variables, () => null);
  listeners.left();
}

// A new session. Sent again under the same key when no answer came, so that it never makes two.
export async function begin(credentials) {
  const input = { idempotencyKey: newKey(), ...(credentials && { credentials }) };
  try {
    return await exchange(CREATE, { input });
  } catch (error) {
    if (!(error instanceof Away)) {
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(error.seconds || 1, 5)));
    return exchange(CREATE, { input });
  }
}

// A token was refused, here or on the socket. Word of its end may come before the answer that
// carries the token in its place: so it counts only once nothing is under way.
export async function verdict(used, error) {
  await Promise.allSettled([...underWay]);
  if (used && used === token) {
    keep(null);
    listeners.ended(error);
  }
}

async function alone(query, variables, next) {
  const used = token;
  const asked = ask(query, variables, used).then(unwrap);
  const settled = asked.then((payload) => keep(next(payload)));
  underWay.add(settled);
  try {
    await settled;
    return await asked;
  } catch (error) {
    underWay.delete(settled);
    if (error instanceof Ended) {
      await verdict(used, error);
    }
    throw error;
  } finally {
    underWay.delete(settled);
  }
}

function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
