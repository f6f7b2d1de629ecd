// Starts GraphiQL. It and React are plain scripts, loaded before this one.

import { post, starters } from "./requests.js";

const PLACEHOLDER = "PASTE-THE-TOKEN-HERE";

// GraphiQL writes descriptions from the schema into the page as HTML. Under Trusted Types they pass
// through here: of a few tags the bare name stays, every other one is dropped, its text remains.
const TAGS = new Set("p br em strong code pre ul ol li blockquote".split(" "));
window.trustedTypes?.createPolicy("default", {
  createHTML: (html) =>
    html.replace(/<(\/?)([a-z]*)[^<>]*>?/g, (_, slash, tag) => (TAGS.has(tag) ? `<${slash}${tag}>` : "")),
});

// GraphiQL's history holds each request with its headers, whatever shouldPersistHeaders says. So that
// no token reaches the disk, what GraphiQL would keep in localStorage lives here and dies with the page.
const kept = new Map();
const storage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key),
  clear: () => kept.clear(),
  get length() {
    return kept.size;
  },
};

// Without a token where none is needed or none was pasted: a bad one is refused whatever it asks for,
// and then GraphiQL could not even read the schema.
async function fetcher(request, options) {
  const headers = new Headers(options?.headers);
  const pasted = !headers.get("Authorization")?.includes(PLACEHOLDER);
  if (request.operationName === "IntrospectionQuery" || !pasted) {
    headers.delete("Authorization");
  }
  return (await post(request, headers)).answer;
}

const defaultTabs = starters.map(({ query, variables, needsToken }) =>
  needsToken
    ? {
        query: `# First, under Headers below: your token.\n${query}`,
        variables,
        headers: JSON.stringify({ Authorization: `Bearer ${PLACEHOLDER}` }, null, 2),
      }
    : { query, variables },
);

ReactDOM.createRoot(document.getElementById("graphiql")).render(
  React.createElement(GraphiQL, {
    fetcher,
    storage,
    defaultTabs,
    shouldPersistHeaders: false,
    defaultEditorToolsVisibility: "headers",
  }),
);
