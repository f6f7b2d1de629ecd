// What a person does with devices, and what is said of what becomes of them.

import { freshly } from "./account.js";
import { act, leave } from "./caller.js";
import { converse } from "./dialogs.js";
import { $, fill, focusOn, say } from "./dom.js";
import { RENAME, REVOKE, REVOKE_ALL, REVOKE_OTHERS } from "./operations.js";
import { counted, howEnded } from "./words.js";

export function announce({ kind, session, before }) {
  const said = {
    CREATED: () => `${session.label} signed in.`,
    UPDATED: () => `${before.label} is now called ${session.label}.`,
    REVOKED: () => `${session.label}: ${howEnded(session)}.`,
    EXPIRED: () => `${session.label} expired.`,
  };
  if (said[kind]) {
    say(said[kind]());
  }
}

export async function rename(devices, session) {
  const done = await converse("rename", {
    prepare: (form) => {
      form.elements.label.value = session.label;
      form.elements.label.select();
    },
    submit: ({ label }) => act(RENAME, { id: session.id, label }),
  });
  if (done) {
    devices.take({ kind: "UPDATED", session: done.session });
  }
}

export async function end(devices, session) {
  const done = await confirm({
    title: `Sign out ${session.label}?`,
    what: "It is signed out at once, wherever it is, and has to sign in again.",
    yes: "Sign out",
    act: () => freshly(() => act(REVOKE, { id: session.id })),
  });
  if (done) {
    devices.take({ kind: "REVOKED", session: done.session ?? session });
    focusOn($("devices-title"));
  }
}

export async function endOthers(devices, read) {
  const done = await confirm({
    title: "Sign out all other devices?",
    what: `${counted(devices.others.length, "device")} will have to sign in again. This one stays.`,
    yes: "Sign out the others",
    act: () => freshly(() => act(REVOKE_OTHERS)),
  });
  if (done) {
    done.sessions.forEach((session) => devices.take({ kind: "REVOKED", session }));
    await read();
    say(`${counted(done.revokedCount, "device")} signed out.`);
  }
}

export function endAll() {
  return confirm({
    title: "Sign out everywhere?",
    what: "All your devices are signed out, this one too.",
    yes: "Sign out everywhere",
    act: () => freshly(() => leave(REVOKE_ALL)),
  });
}

export async function signOut(devices, viewer) {
  const guest = "A guest who signs out on the last device cannot come back.";
  const isLast = viewer.isGuest && devices.others.length === 0;
  if (!isLast) {
    await leave(REVOKE);
    return;
  }
  await confirm({
    title: "Sign out?",
    what: `${guest} Claim an account first, or link another device, if you want to keep it.`,
    yes: "Sign out",
    act: () => leave(REVOKE),
  });
}

function confirm({ title, what, yes, act: doIt }) {
  return converse("confirm", { prepare: (form) => fill(form, { title, what, yes }), submit: doIt });
}
