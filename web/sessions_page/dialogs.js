// Dialogs: a form in a <dialog>, which stays open until its act has succeeded or is given up. The
// browser keeps the focus inside, closes on Escape, and gives the focus back afterwards.

import { Ended, Known } from "./api.js";
import { $ } from "./dom.js";

export const STAY = Symbol("the dialog stays open");

// What submit answers, or null for who gave up. prepare(form, finish) may set the form up and
// answer what is to be done when it closes; finish(result) closes it without a submit.
export function converse(id, { prepare, submit }) {
  const dialog = $(id);
  const form = dialog.querySelector("form");
  let result = null;
  let isOpen = true;
  const finish = (found) => { // late, it must not close the dialog that came after
    if (isOpen) {
      result = found;
      dialog.close();
    }
  };
  form.reset();
  form.ariaBusy = "false"; // what an earlier one waits for is not this one's
  complain(form, []);
  const tidy = prepare?.(form, finish);
  form.onsubmit = (event) => {
    event.preventDefault();
    attempt(form, submit, finish);
  };
  dialog.showModal();
  form.querySelector("[data-first]")?.focus(); // autofocus complains where something had the focus
  return new Promise((resolve) => {
    dialog.onclose = () => {
      isOpen = false;
      form.reset(); // no password stays behind in a closed dialog
      tidy?.();
      resolve(result);
    };
  });
}

// Ends every dialog, as when the session has ended under them.
export function closeAll() {
  for (const dialog of document.querySelectorAll("dialog[open]")) {
    dialog.close();
  }
}

async function attempt(form, submit, finish) {
  if (form.ariaBusy === "true") {
    return;
  }
  form.ariaBusy = "true";
  complain(form, []);
  try {
    const result = await submit(Object.fromEntries(new FormData(form)), form);
    if (result !== STAY) {
      finish(result);
    }
  } catch (error) {
    if (!(error instanceof Known)) {
      throw error;
    }
    if (!(error instanceof Ended)) { // the whole page shows that
      complain(form, error.userErrors ?? [error]);
    }
  } finally {
    form.ariaBusy = "false";
  }
}

// Says what is wrong, at the field that it is wrong with where there is one.
function complain(form, errors) {
  const place = form.querySelector(".complaint");
  place.id = `${form.parentElement.id}-complaint`;
  place.textContent = errors.map((error) => error.message).join(" ");
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
  }
  const named = errors.flatMap(({ path }) => path?.at(-1) ?? []);
  const fields = named.map((name) => form.elements.namedItem(name)).filter(Boolean);
  for (const field of fields) {
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", place.id);
  }
  fields[0]?.focus();
}

// What all of them share: buttons that give up, and passwords that can be looked at.
document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-give-up]")) {
    target.closest("dialog").close();
  }
});
document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-reveal]")) {
    for (const field of target.form.querySelectorAll("[data-secret]")) {
      field.type = target.checked ? "text" : "password";
    }
  }
});
document.addEventListener("reset", ({ target }) => {
  for (const field of target.querySelectorAll("[data-secret]")) {
    field.type = "password";
  }
});
