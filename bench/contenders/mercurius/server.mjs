// Fastify and Mercurius, its queries compiled from their second use on.

import Fastify from 'fastify'
import mercurius from 'mercurius'
import { resolvers, typeDefs } from './schema.mjs'
import { authenticate } from './sessions.mjs'

async function context(request) {
  const viewer = await authenticate(request.headers.authorization).catch(() => {
    throw new mercurius.ErrorWithProps('unauthenticated', { code: 'UNAUTHENTICATED' }, 401)
  })
  return { viewer, userAgent: request.headers['user-agent'], address: request.ip }
}

const app = Fastify()
app.register(mercurius, { schema: typeDefs, resolvers, context, jit: 1 })
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
