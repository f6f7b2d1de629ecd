// The few things that every view does with the document. Text is only ever set as text.

import { Ended, Known } from "./api.js";

export const $ = (id) => document.getElementById(id);

// A copy of a template's one element.
export function made(template) {
  return $(template).content.cloneNode(true).firstElementChild;
}

// Sets the texts of an element's slots, and touches nothing that says the same already: a screen
// reader would read it again, and a selection in it would be lost.
export function fill(root, texts) {
  for (const [slot, text] of Object.entries(texts)) {
    const element = root.querySelector(`[data-slot="${slot}"]`);
    if (element.textContent !== text) {
      element.textContent = text;
    }
    element.hidden = text === "";
  }
}

let fading;

// Says something in the polite live region at the foot of the window, where it moves nothing.
export function say(text) {
  const place = $("said");
  clearTimeout(fading);
  place.textContent = text;
  fading = setTimeout(() => { place.textContent = ""; }, 8_000);
}

export function focusOn(element) {
  element.tabIndex = -1;
  element.focus();
}

// Does something; what it meets is said, unless it is of a kind that shows elsewhere.
export async function attempt(something, ...quiet) {
  try {
    await something();
  } catch (error) {
    if (!(error instanceof Known)) {
      throw error;
    }
    if (![Ended, ...quiet].some((kind) => error instanceof kind)) {
      say(error.message);
    }
  }
}
