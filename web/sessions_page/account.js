// Becoming somebody, proving it, and ceasing to be.

import { Known } from "./api.js";
import { begin, exchange, leave } from "./caller.js";
import { converse } from "./dialogs.js";
import { fill, say } from "./dom.js";
import { CHANGE_PASSWORD, CLAIM, DELETE_ACCOUNT, REAUTHENTICATE } from "./operations.js";

let viewer = null; // the caller's user

export function meet(user) {
  viewer = user;
}

// Does what may need a fresh proof: asks for one where it does, then does it again.
export async function freshly(attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (error.code !== "REAUTHENTICATION_REQUIRED") {
      throw error;
    }
    if (!(await proveAgain())) {
      throw new Known("Nothing was changed: this needs your password.");
    }
    return attempt();
  }
}

function proveAgain() {
  const { username } = viewer;
  return converse("prove", {
    prepare: (form) => name(form, username),
    submit: ({ password }) =>
      exchange(REAUTHENTICATE, { credentials: { password: { username, password } } }),
  });
}

export function signIn() {
  return converse("sign-in", {
    prepare: (form) => warn(form, viewer),
    submit: ({ username, password }) => begin({ password: { username, password } }),
  });
}

export async function claim() {
  const done = await converse("claim", {
    submit: ({ username, password, others }) =>
      exchange(CLAIM, { username, password, others: Boolean(others) }),
  });
  if (done) {
    say("The account is yours. You can sign in with its password from now on.");
  }
}

export async function changePassword() {
  const done = await converse("change-password", {
    prepare: (form) => name(form, viewer.username),
    submit: ({ currentPassword, newPassword }) =>
      freshly(() =>
        exchange(CHANGE_PASSWORD, { current: currentPassword || null, next: newPassword })),
  });
  if (done) {
    say("The password is changed. Your other devices are signed out.");
  }
}

export async function deleteAccount() {
  const { username } = viewer;
  await converse("delete-account", {
    prepare: (form) => fill(form, { username }),
    submit: async ({ confirmUsername }) => {
      await freshly(() => leave(DELETE_ACCOUNT, { name: confirmUsername }));
      say("Everything is deleted.");
    },
  });
}

// Says of a form that signs in what becomes of the session that there is.
export function warn(form, user) {
  const what = user?.isGuest ? `the guest ${user.username}` : user?.username;
  fill(form, { warning: user ? `This window is signed in as ${what}. That session ends.` : "" });
}

// For password managers, which keep a password by its name.
function name(form, username) {
  form.elements.username.value = username;
}

