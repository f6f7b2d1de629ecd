// Times for people: "2 minutes ago", with the exact one behind it.

import { now } from "./api.js";

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60]]; // seconds
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const exact = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "medium" });

// Puts a time into a <time> element.
export function putTime(element, iso) {
  element.dateTime = iso;
  element.title = exact.format(new Date(iso));
  refresh(element);
}

export function exactly(iso) {
  return exact.format(new Date(iso));
}

// Whole seconds from now; negative in the past.
export function secondsUntil(iso) {
  return Math.round((Date.parse(iso) - now()) / 1000);
}

function refresh(element) {
  const text = inWords(secondsUntil(element.dateTime));
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function inWords(seconds) {
  const [unit, size] = UNITS.find(([, least]) => Math.abs(seconds) >= least) ?? ["minute", 0];
  return size ? relative.format(Math.trunc(seconds / size), unit) : "just now";
}

setInterval(() => document.querySelectorAll("time[datetime]").forEach(refresh), 20_000);
