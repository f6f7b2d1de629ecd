// Bare node:http, without GraphQL and without a framework.

import { createServer } from 'node:http'
import { authenticate, createGuestAtOnce, listSessions, revokeSessionAtOnce } from './sessions.mjs'

function answer(response, status, body) {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text)
  })
  response.end(text)
}

async function respond(request, response) {
  const { method, url, headers, socket } = request
  const address = socket.remoteAddress
  if (method === 'POST' && url === '/sessions') {
    return answer(response, 201, await createGuestAtOnce(headers['user-agent'], address))
  }
  const viewer = await authenticate(headers.authorization).catch(() => undefined)
  if (!viewer) return answer(response, 401, { error: 'unauthenticated' })
  if (method === 'GET' && url === '/me') {
    return answer(response, 200, { id: viewer.id, username: viewer.username })
  }
  if (method === 'GET' && url === '/sessions') {
    return answer(response, 200, await listSessions(viewer))
  }
  if (method === 'DELETE' && url.startsWith('/sessions/')) {
    const id = url.slice('/sessions/'.length)
    return answer(response, 200, await revokeSessionAtOnce(viewer, id, address))
  }
  return answer(response, 404, { error: 'not found' })
}

createServer((request, response) => {
  respond(request, response).catch(() => answer(response, 500, { error: 'failed' }))
}).listen(Number(process.env.PORT), '127.0.0.1')
