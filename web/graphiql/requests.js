// What both pages share: the requests they offer, and how one is sent.

// The comments are short enough for GraphiQL's editor at its usual width.
export const starters = [
  {
    title: "Create a guest",
    query: `# Makes a guest: a new user, its first session.
# Next: take the token from the answer.

mutation CreateGuest {
  createSession {
    token
    expiresAt
    session { id label }
    userErrors { code message }
  }
}
`,
  },
  {
    title: "My sessions",
    needsToken: true,
    query: `# The live sessions of the token's user.
# Next: copy the id of one, to revoke it.

query MySessions {
  mySessions {
    id
    label
    isCurrent
    createdAt
    lastActiveAt
    expiresAt
    status
  }
}
`,
  },
  {
    title: "Revoke",
    needsToken: true,
    query: `# Ends the session named in the variables:
# its token is refused from then on.
# With {} there: the token's own (sign out).

mutation Revoke($id: ID) {
  revokeSession(id: $id) {
    status
    session { id status revokedAt }
  }
}
`,
    variables: '{\n  "id": "PASTE-A-SESSION-ID-HERE"\n}',
  },
];

// Sends one request to the address of the page; resolves to the HTTP status and the parsed answer.
export async function post(request, givenHeaders) {
  const headers = new Headers(givenHeaders);
  if (!headers.has("Accept")) {
    headers.set("Accept", "application/graphql-response+json, application/json;q=0.9");
  }
  headers.set("Content-Type", "application/json");
  const body = JSON.stringify(request);
  const response = await fetch(location.pathname, { method: "POST", headers, body });
  const text = await response.text();
  try {
    return { status: response.status, answer: JSON.parse(text) };
  } catch {
    throw new Error(`The server answered ${response.status}, and not in JSON.`);
  }
}
