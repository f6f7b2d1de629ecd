// What the server's words mean to a person.

const ENDED = {
  TOKEN_INVALID: "The server does not know this window's session. It may have been reset.",
  TOKEN_EXPIRED: "The session reached the end of its time.",
  SESSION_EXPIRED: "The session reached the end of its time.",
  SESSION_IDLE: "The session was not used for a long time, so it ended by itself.",
  SESSION_NOT_FOUND: "The session no longer exists. It was removed, or its account was deleted.",
  USER_DISABLED: "An administrator disabled the account.",
};

const REVOKED = {
  SIGNED_OUT: "You signed out in another window of this device.",
  REVOKED_BY_USER: "This session was ended from another of your devices.",
  REVOKED_BY_ADMIN: "An administrator ended this session.",
  SESSION_LIMIT: "You signed in on more devices than there may be, and the oldest session, this one,"
    + " made room.",
  CREDENTIAL_CHANGED: "A way to sign in was changed on another device, which signs out all others.",
  USER_DISABLED: "An administrator disabled the account.",
  SUPERSEDED: "Another window of this device signed in anew, which replaces this session.",
};

const SHORT = {
  SIGNED_OUT: "signed out",
  REVOKED_BY_USER: "ended by you",
  REVOKED_BY_ADMIN: "ended by an administrator",
  SESSION_LIMIT: "made room for a newer one",
  CREDENTIAL_CHANGED: "ended by a changed way to sign in",
  USER_DISABLED: "account disabled",
  SUPERSEDED: "replaced by a newer session",
};

const STATES = {
  connecting: "Connecting …",
  live: "Live",
  away: "Reconnecting …",
  off: "Not live: updated when you return",
  stopped: "",
};

// Why this window was signed out, as a sentence.
export function whyEnded({ reason, revokedReason, message }) {
  return REVOKED[revokedReason] ?? ENDED[reason] ?? message;
}

export function howEnded({ status, revokedReason }) {
  return SHORT[revokedReason] ?? (status === "EXPIRED" ? "expired" : "ended");
}

export function liveState(state) {
  return STATES[state];
}

export function deviceName({ name, os }) {
  const known = [name, os].filter((part) => part && part !== "Other");
  return known.join(" on ") || "Unknown device";
}

export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
