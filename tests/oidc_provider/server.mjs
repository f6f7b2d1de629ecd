// npm's oidc-provider on loopback, led by JSON lines on stdin; each is answered by one on stdout.
//
//   node server.mjs FOLDER     FOLDER holds node_modules
//
//   {"do": "start", "jwks", "clients", "tls"?}   serves, and answers with its issuer
//   {"do": "rotate", "jwks"}                     the same issuer with other keys
//   {"do": "can", "answers": {url: answer}}      answers that take the provider's place; an answer
//                                                is {status, headers, body}, {drip: true} (spaces
//                                                that never end), or null: none for now
//   {"do": "count"}                              how often each URL was asked for, since it was asked
//   {"do": "stop"}                               nobody listens any more
//   {"do": "resume"}                             serves again, on the same port
//
// It ends when stdin does, so it never outlives the test that started it.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

console.info = console.warn; // stdout is for answers; the provider prints notices

const installed = path.resolve(process.argv[2], 'node_modules/oidc-provider/lib/index.js');
const { default: Provider } = await import(pathToFileURL(installed));

const WEEK = 7 * 86400;

const state = { port: 0, canned: {}, waiting: [], counts: {} };

function makeProvider() {
  const provider = new Provider(state.issuer, {
    jwks: state.jwks,
    clients: state.clients.map((client) => ({
      redirect_uris: [`${state.issuer}/callback`],
      ...client,
    })),
    cookies: { keys: ['of no matter'] },
    enabledJWA: {
      idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'HS256'],
    },
    // As long as it takes to see keys grow too old before their tokens do.
    ttl: Object.fromEntries(
      ['AccessToken', 'Grant', 'IdToken', 'Interaction', 'Session'].map((name) => [name, WEEK]),
    ),
    pkce: { required: () => false },
    extraParams: ['login_at'],
    features: {
      devInteractions: { enabled: false },
      // An access token that looks as much as it can like an ID token: a JWT, for the client.
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:example:api',
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource, client) => ({
          scope: 'api',
          audience: client.clientId,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: consented,
  });
  state.handle = provider.callback();
  state.provider = provider;
}

// Everybody consents to everything.
async function consented(ctx) {
  const { client, session, provider } = ctx.oidc;
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope('openid');
  grant.addResourceScope('urn:example:api', 'api');
  await grant.save();
  return grant;
}

// Whoever the client hints at has just signed in; or had, at the time that the test asks for.
async function signIn(request, response) {
  const { params } = await state.provider.interactionDetails(request, response);
  const ts = params.login_at ? Number(params.login_at) : undefined;
  const login = { accountId: params.login_hint, ts };
  await state.provider.interactionFinished(request, response, { login });
}

function drip(response) {
  const drops = setInterval(() => response.write(' '), 20);
  response.on('close', () => clearInterval(drops));
}

async function front(request, response) {
  state.counts[request.url] = (state.counts[request.url] ?? 0) + 1;
  while (state.canned[request.url] === null) await new Promise((go) => state.waiting.push(go));
  const canned = state.canned[request.url];
  if (canned?.drip) drip(response);
  else if (canned) response.writeHead(canned.status ?? 200, canned.headers ?? {}).end(canned.body ?? '');
  else if (request.url.startsWith('/interaction/')) await signIn(request, response);
  else if (request.url.startsWith('/callback')) response.end();
  else state.handle(request, response);
}

async function listen() {
  state.server = state.tls ? https.createServer(state.tls, front) : http.createServer(front);
  state.server.listen(state.port, '127.0.0.1');
  await once(state.server, 'listening');
  state.port = state.server.address().port;
  state.issuer = `${state.tls ? 'https' : 'http'}://127.0.0.1:${state.port}`;
}

const verbs = {
  async start({ jwks, clients, tls }) {
    Object.assign(state, { jwks, clients, tls });
    await listen();
    makeProvider();
    return { issuer: state.issuer };
  },
  async resume() {
    await listen();
  },
  rotate({ jwks }) {
    state.jwks = jwks;
    makeProvider();
  },
  can({ answers }) {
    state.canned = answers;
    state.waiting.splice(0).forEach((go) => go());
  },
  count() {
    const { counts } = state;
    state.counts = {};
    return counts;
  },
  async stop() {
    state.server.close();
    state.server.closeAllConnections();
    await once(state.server, 'close');
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { do: verb, ...rest } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify((await verbs[verb](rest)) ?? {})}\n`);
}
process.exit();
