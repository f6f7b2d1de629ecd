// Apollo Server's own HTTP server.

import { ApolloServer } from '@apollo/server'
import { startStandaloneServer } from '@apollo/server/standalone'
import { GraphQLError } from 'graphql'
import { resolvers, typeDefs } from './schema.mjs'
import { authenticate } from './sessions.mjs'

async function context({ req }) {
  const viewer = await authenticate(req.headers.authorization).catch(() => {
    throw new GraphQLError('unauthenticated', {
      extensions: { code: 'UNAUTHENTICATED', http: { status: 401 } }
    })
  })
  return { viewer, userAgent: req.headers['user-agent'], address: req.socket.remoteAddress }
}

await startStandaloneServer(new ApolloServer({ typeDefs, resolvers }), {
  context,
  listen: { host: '127.0.0.1', port: Number(process.env.PORT) }
})
