// better-auth as its documentation sets it up: every request looks into the database.

import { betterAuth } from 'better-auth'
import { anonymous } from 'better-auth/plugins'
import pg from 'pg'

export const auth = betterAuth({
  database: new pg.Pool({ max: 10 }), // where to stands in the PG* variables
  secret: process.env.JWT_SECRET,
  baseURL: `http://127.0.0.1:${process.env.PORT ?? 80}`,
  trustedOrigins: ['http://127.0.0.1'],
  plugins: [anonymous()],
  rateLimit: { enabled: false },
  advanced: { useSecureCookies: false },
  logger: { level: 'error' }
})
