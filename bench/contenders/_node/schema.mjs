// The schema that the Node contenders with GraphQL serve.

import { GraphQLScalarType } from 'graphql'
import { createGuest, listSessions, revokeSession } from './sessions.mjs'

export const typeDefs = `
  scalar DateTime
  type User { id: ID!  username: String! }
  type Session {
    id: ID!  label: String!  status: String  isCurrent: Boolean
    createdAt: DateTime  lastActiveAt: DateTime  expiresAt: DateTime
  }
  type CreateSessionPayload { token: String!  expiresAt: DateTime!  session: Session! }
  type RevokeSessionPayload { status: String! }
  type Query { viewer: User  mySessions: [Session!]! }
  type Mutation {
    createSession: CreateSessionPayload!
    revokeSession(id: ID!): RevokeSessionPayload!
  }
`

function signedIn(context) {
  if (!context.viewer) throw new Error('sign in first')
  return context.viewer
}

export const resolvers = {
  DateTime: new GraphQLScalarType({ name: 'DateTime', serialize: (date) => date.toISOString() }),
  Query: {
    viewer: (_, __, context) => context.viewer,
    mySessions: (_, __, context) => listSessions(signedIn(context))
  },
  Mutation: {
    createSession: (_, __, context) => createGuest(context.userAgent, context.address),
    revokeSession: (_, { id }, context) => revokeSession(signedIn(context), id, context.address)
  }
}
