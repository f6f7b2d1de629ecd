// npm's graphql-ws and graphql-sse as programs that tests lead: one operation each.
//
//   node client.mjs FOLDER ws|sse URL TOKEN QUERY     FOLDER holds node_modules
//
// It prints a JSON line for whatever its client tells: {"connected"}, {"next"}, {"error"},
// {"complete"}, {"closed": code}; and ends with the operation, or when stdin does.

import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , folder, protocol, url, token, query] = process.argv;
const load = (file) => import(pathToFileURL(path.resolve(folder, 'node_modules', file)));
const say = (line) => console.log(JSON.stringify(line));
const soon = () => new Promise((resolve) => setTimeout(resolve, 200));
const credential = token ? { Authorization: `Bearer ${token}` } : {};

async function client() {
  if (protocol === 'sse') {
    const { createClient } = await load('graphql-sse/lib/client.mjs');
    const on = { connected: (again) => say({ connected: Boolean(again) }) };
    return createClient({ url, headers: credential, retry: soon, on });
  }
  const { createClient } = await load('graphql-ws/dist/client.js');
  const { default: WebSocket } = await load('ws/wrapper.mjs');
  return createClient({
    url,
    webSocketImpl: WebSocket,
    connectionParams: credential,
    retryWait: soon,
    on: {
      connected: (_socket, _payload, again) => say({ connected: Boolean(again) }),
      closed: (event) => say({ closed: event.code, reason: event.reason }),
    },
  });
}

process.stdin.resume().on('end', () => process.exit());
(await client()).subscribe(
  { query },
  {
    next: (next) => say({ next }),
    error: (error) => say({ error: Array.isArray(error) ? error : String(error.message ?? error.code) }),
    complete: () => say({ complete: true }),
  },
);
