// GraphQL Yoga on node:http.

import { createServer } from 'node:http'
import { GraphQLError } from 'graphql'
import { createSchema, createYoga } from 'graphql-yoga'
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

const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  context,
  graphiql: false,
  landingPage: false,
  logging: false
})
createServer(yoga).listen(Number(process.env.PORT), '127.0.0.1')
