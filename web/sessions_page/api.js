// GraphQL over HTTP, and the ways in which it goes wrong, each of its own kind: what the page does
// next depends on nothing else.

const ENDPOINT = new URL("graphql", document.baseURI);
const PATIENCE = 15_000; // ms; the server answers within its own five seconds, if it can

// What may be told to a person as it is; any other error is a bug, and thrown on.
export class Known extends Error {}

// The token is no good any more: throw it away, say why, begin again.
export class Ended extends Known {
  constructor({ message, extensions = {} }) {
    super(message);
    this.reason = extensions.reason ?? null;
    this.revokedAt = extensions.revokedAt ?? null;
    this.revokedReason = extensions.revokedReason ?? null;
  }
}

// Nobody can say at the moment: keep the token, come back.
export class Away extends Known {
  constructor(seconds = 1) {
    super("The server cannot be reached at the moment. Try again in a little while.");
    this.seconds = seconds;
  }
}

// The request was understood and declined.
export class Refused extends Known {
  constructor({ message, extensions = {} }, seconds) {
    super(extensions.code === "RATE_LIMITED" && seconds
      ? `That was often. Try again in ${seconds} seconds.` : message);
    this.code = extensions.code ?? null;
  }
}

// What a person typed can be mended: the payload's userErrors.
export class Mendable extends Known {
  constructor(userErrors) {
    super(userErrors[0].message);
    this.userErrors = userErrors;
  }
}

// The data of an operation. Throws Ended, Away, Refused.
export async function ask(query, variables, token) {
  const response = await send(JSON.stringify({ query, variables }), token);
  learnTheTime(response.headers.get("Date"));
  const { data, errors } = await read(response);
  if (errors?.length) {
    throw kindOf(errors[0], Number(response.headers.get("Retry-After")));
  }
  if (!data) {
    throw new Away();
  }
  return data;
}

// The payload of a mutation of one field. Throws Mendable, too.
export function unwrap(data) {
  const [payload] = Object.values(data);
  if (payload.userErrors?.length) {
    throw new Mendable(payload.userErrors);
  }
  return payload;
}

export function kindOf(error, seconds) {
  const code = error.extensions?.code;
  if (code === "UNAUTHENTICATED") {
    return new Ended(error);
  }
  return code === "SESSION_STORE_UNAVAILABLE" ? new Away(seconds) : new Refused(error, seconds);
}

async function send(body, token) {
  const headers = { "Content-Type": "application/json" };
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  const signal = AbortSignal.timeout(PATIENCE);
  const how = { method: "POST", credentials: "omit", cache: "no-store" };
  try {
    return await fetch(ENDPOINT, { ...how, headers, body, signal });
  } catch {
    throw new Away();
  }
}

async function read(response) {
  try {
    return await response.json();
  } catch { // a proxy's page, or an answer that broke off
    throw new Away();
  }
}

// Countdowns and "2 minutes ago" go by the server's clock: a device's own may be wrong.
let ahead = 0; // ms that the server's clock is ahead of this device's

export function now() {
  return Date.now() + ahead;
}

function learnTheTime(date) {
  const difference = Date.parse(date) - Date.now();
  ahead = Math.abs(difference) > 5_000 ? difference : 0; // the header has whole seconds
}
