// The administrators' list: everybody's sessions by pages, and ending many of them at once.

import { freshly } from "./account.js";
import { act, call } from "./caller.js";
import { converse } from "./dialogs.js";
import { $, attempt, fill, made, say } from "./dom.js";
import { drawFacts } from "./list.js";
import { EVERYBODY, MAY_I, REVOKE_MANY } from "./operations.js";
import { counted } from "./words.js";

const PAGE = 25; // sessions
const SHOWN = 8; // of a preview's sample
const NOT_FOR_YOU = "FORBIDDEN";

let filter = {};
let befores = []; // the cursors of the pages before this one
let after = null; // this page's
let next = null; // the next one's

export async function isAdministrator() {
  try {
    await call(MAY_I);
    return true;
  } catch (error) {
    if (error.code === NOT_FOR_YOU) {
      return false;
    }
    throw error;
  }
}

export async function show() {
  const asked = [filter, after];
  const { sessions } = await call(EVERYBODY, { filter, first: PAGE, after });
  if (asked[0] !== filter || asked[1] !== after) {
    return; // somebody was faster than the server
  }
  next = sessions.pageInfo.hasNextPage ? sessions.pageInfo.endCursor : null;
  $("entries").replaceChildren(...sessions.edges.map(({ node }) => entry(node)));
  const number = sessions.edges.length;
  fill($("everybody"), {
    found: number
      ? `Page ${befores.length + 1}: ${counted(number, "session")}, newest first.`
      : "No session is like that.",
  });
  $("page-before").disabled = befores.length === 0;
  $("page-next").disabled = next === null;
  $("end-many").disabled = Object.keys(filter).length === 0;
}

function entry(session) {
  const item = made("entry");
  drawFacts(item, session);
  fill(item, { user: session.user.username, guest: session.user.isGuest ? "guest" : "" });
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Only this user: ${session.user.username}`);
  button.addEventListener("click", () => only(session.user));
  return item;
}

function only(user) {
  const form = $("filter");
  form.reset();
  form.elements.username.value = user.username;
  search();
}

// Times are typed in the clock of whoever sits here, and sent in UTC.
function read(form) {
  const fields = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
  const convert = (name, value) => {
    if (name === "isGuest") {
      return value === "yes";
    }
    return form.elements[name].type === "datetime-local" ? new Date(value).toISOString() : value;
  };
  return Object.fromEntries(fields.map(([name, value]) => [name, convert(name, value.trim())]));
}

function search() {
  filter = read($("filter"));
  turn([], null);
}

function turn(to, cursor) {
  [befores, after] = [to, cursor];
  return attempt(show);
}

$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
// What would be ended is what is shown, not what was typed since.
$("filter").addEventListener("input", () => { $("end-many").disabled = true; });
$("clear").addEventListener("click", () => {
  $("filter").reset();
  search();
});
$("page-next").addEventListener("click", () => turn([...befores, after], next));
$("page-before").addEventListener("click", () => turn(befores.slice(0, -1), befores.at(-1)));

$("end-many").addEventListener("click", () => attempt(endMany));

// First what would end, then, when that was agreed to, the same for good.
async function endMany() {
  const preview = await freshly(() => act(REVOKE_MANY, { filter, dryRun: true }));
  const ended = await converse("confirm-many", {
    prepare: (form) => describe(form, preview),
    submit: (_, form) => endAll(form),
  });
  if (ended !== null) {
    await turn([], null);
    say(`${counted(ended, "session")} signed out.`);
  }
}

function describe(form, { revokedCount, sessions }) {
  const which = Object.keys(filter).map(inWords);
  const names = sessions.slice(0, SHOWN).map(({ label, user }) => `${label} of ${user.username}`);
  const more = revokedCount - names.length;
  fill(form, {
    which: `All that fit: ${which.join("; ")}.`,
    count: `${counted(revokedCount, "live session")}. The one that you use now stays.`,
    more: more > 0 ? `… and ${more} more.` : "",
    confirm: `Sign out ${counted(revokedCount, "session")}`,
  });
  form.querySelector("ul").replaceChildren(...names.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  form.querySelector("[type=submit]").disabled = revokedCount === 0;
}

// A field of the filter as the form has it: "Guests: guests only".
function inWords(name) {
  const field = $("filter").elements[name];
  const label = field.labels[0].firstChild.textContent.trim();
  return `${label}: ${field.selectedOptions?.[0].text ?? field.value}`;
}

// The server ends as many as it has time for; nothing is left when it ended none.
async function endAll(form) {
  let all = 0;
  for (;;) {
    const { revokedCount } = await freshly(() => act(REVOKE_MANY, { filter, dryRun: false }));
    if (revokedCount === 0) {
      return all;
    }
    all += revokedCount;
    fill(form, { count: `${counted(all, "session")} signed out so far …` });
  }
}

// Nothing of one administrator's is shown to the next person in this window.
export function forget() {
  $("filter").reset();
  $("entries").replaceChildren();
  [filter, befores, after, next] = [{}, [], null, null];
}
