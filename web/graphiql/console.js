// The console: a request, its answer, and a token that lives in this page's memory only.

import { post, starters } from "./requests.js";

const [form, startersRow, query, variables, token, run, useToken, status, answer] = [
  "request", "starters", "query", "variables", "token", "run", "use-token", "status", "answer",
].map((id) => document.getElementById(id));

let newToken = null;

for (const starter of starters) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = starter.title;
  button.addEventListener("click", () => fill(starter));
  startersRow.append(button);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});

form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    send();
  }
});

useToken.addEventListener("click", () => {
  token.value = newToken;
  offer(null);
  show("The token is in its field.");
  token.focus();
});

fill(starters[0]);

function fill(starter) {
  query.value = starter.query;
  variables.value = starter.variables ?? "";
}

async function send() {
  if (run.disabled) {
    return;
  }
  run.disabled = true;
  offer(null);
  show("Running …", "");
  try {
    const started = performance.now();
    const { status: code, answer: body } = await post(request(), credentials());
    show(`HTTP ${code}, ${Math.round(performance.now() - started)} ms`, JSON.stringify(body, null, 2));
    offer(tokenIn(body));
  } catch (error) {
    show(error.message);
  } finally {
    run.disabled = false;
  }
}

function request() {
  const text = variables.value.trim();
  if (!text) {
    return { query: query.value };
  }
  try {
    return { query: query.value, variables: JSON.parse(text) };
  } catch {
    throw new Error("The variables are not JSON.");
  }
}

function credentials() {
  const text = token.value.trim();
  return text ? { Authorization: `Bearer ${text}` } : {};
}

// Any field of a mutation may answer a token: createSession today, others later.
function tokenIn(body) {
  const fields = Object.values(body?.data ?? {});
  return fields.map((field) => field?.token).find((found) => typeof found === "string") ?? null;
}

function offer(found) {
  newToken = found;
  useToken.hidden = found === null;
}

function show(message, text) {
  status.textContent = message;
  if (text !== undefined) {
    answer.textContent = text;
  }
}
