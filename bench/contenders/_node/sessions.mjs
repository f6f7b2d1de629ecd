// What every Node contender on our tables does: tokens by jose, prepared statements by pg.

import { randomBytes } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import pg from 'pg'

const { JWT_SECRET, JWT_ISSUER: issuer, JWT_AUDIENCE: audience, JWT_CLIENT_ID, JWT_KID } = process.env
const hmac = { name: 'HMAC', hash: 'SHA-256' }
const key = await crypto.subtle.importKey('raw', Buffer.from(JWT_SECRET), hmac, false, [
  'sign',
  'verify'
])
const header = { alg: 'HS256', typ: 'at+jwt', kid: JWT_KID }
const expected = { issuer, audience, typ: 'at+jwt', algorithms: ['HS256'] }
const pool = new pg.Pool({ max: 10 }) // where to stands in the PG* variables

const LIVE = `s.revoked_at IS NULL AND s.expires_at > now() AND (s.idle_timeout IS NULL
  OR s.last_active_at + s.idle_timeout + s.activity_resolution > now())`

const CHECK = `SELECT u.id, u.username FROM user_sessions s JOIN users u ON u.id = s.user_id
  WHERE s.user_id = $1 AND s.id = $2 AND u.disabled_at IS NULL AND ${LIVE}`

const LIST = `SELECT s.id, s.label, s.created_at, s.last_active_at, s.expires_at
  FROM user_sessions s WHERE s.user_id = $1 AND ${LIVE}
  ORDER BY s.id = $2 DESC, s.last_active_at DESC, s.id DESC`

const CREATE = `WITH name AS (
    INSERT INTO usernames (username_key, user_id) VALUES ($3, $1)
  ), person AS (
    INSERT INTO users (id, username, is_guest) VALUES ($1, $3, true)
  ), begun AS (
    INSERT INTO user_sessions (user_id, id, label, expires_at, idle_timeout,
      idle_timeout_once_used, activity_resolution, user_agent, ip_address)
    VALUES ($1, $2, $4, now() + interval '720 h', interval '24 h', interval '336 h',
      interval '60 s', $5, $6)
    RETURNING id, label, created_at, expires_at
  ), event AS (
    INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
      actor_session_id, ip_address)
    VALUES ($1, $7, $2, 'CREATED', 'USER', $1, $2, $6)
  ) SELECT * FROM begun`

// The same in a transaction, a statement for each row, as most would write it.
const BEGIN_GUEST = [
  ['name', 'INSERT INTO usernames (username_key, user_id) VALUES ($1, $2)'],
  ['person', 'INSERT INTO users (id, username, is_guest) VALUES ($1, $2, true)'],
  ['begun', `INSERT INTO user_sessions (user_id, id, label, expires_at, idle_timeout,
      idle_timeout_once_used, activity_resolution, user_agent, ip_address)
    VALUES ($1, $2, $3, now() + interval '720 h', interval '24 h', interval '336 h',
      interval '60 s', $4, $5)
    RETURNING id, label, created_at, expires_at`],
  ['event', `INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
      actor_session_id, ip_address)
    VALUES ($1, $2, $3, 'CREATED', 'USER', $1, $3, $4)`]
]
const END = `UPDATE user_sessions s
    SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER', revoked_by = $3
    WHERE s.user_id = $1 AND s.id = $2 AND ${LIVE} RETURNING s.id`
const ENDED = `INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
      actor_session_id, reason, ip_address)
    VALUES ($1, $2, $3, 'REVOKED', 'USER', $1, $4, 'REVOKED_BY_USER', $5)`

const REVOKE = `WITH ended AS (
    UPDATE user_sessions s
    SET revoked_at = now(), revoked_reason = 'REVOKED_BY_USER', revoked_by = $3
    WHERE s.user_id = $1 AND s.id = $2 AND ${LIVE} RETURNING s.user_id, s.id
  ) INSERT INTO session_events (user_id, id, session_id, kind, actor, actor_user_id,
      actor_session_id, reason, ip_address)
    SELECT user_id, $4, id, 'REVOKED', 'USER', $1, $3, 'REVOKED_BY_USER', $5 FROM ended
    RETURNING session_id`

function uuid7() {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(Date.now(), 0, 6)
  bytes[6] = (bytes[6] & 0x0f) | 0x70
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

async function rows(name, text, values) {
  return (await pool.query({ name, text, values })).rows
}

// The caller of a request; undefined without a token; throws when the token is no good.
export async function authenticate(authorization) {
  if (!authorization) return undefined
  const { payload } = await jwtVerify(authorization.slice('Bearer '.length), key, expected)
  const [user] = await rows('check', CHECK, [payload.sub, payload.sid])
  if (!user) throw new Error('the session has ended')
  return { id: user.id, username: user.username, sessionId: payload.sid }
}

export async function listSessions(viewer) {
  const found = await rows('list', LIST, [viewer.id, viewer.sessionId])
  return found.map((row) => ({
    id: row.id,
    label: row.label,
    status: 'ACTIVE',
    isCurrent: row.id === viewer.sessionId,
    createdAt: row.created_at,
    lastActiveAt: row.last_active_at,
    expiresAt: row.expires_at
  }))
}

async function transaction(work) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const done = await work(
      async (name, text, values) => (await client.query({ name, text, values })).rows
    )
    await client.query('COMMIT')
    return done
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

// One statement for all rows: nobody can ask for less of the database.
async function guestAtOnce(userId, sessionId, name, userAgent, address) {
  const values = [userId, sessionId, name, 'new device', userAgent, address, uuid7()]
  return (await rows('create', CREATE, values))[0]
}

async function guestInTransaction(userId, sessionId, name, userAgent, address) {
  const values = [
    [name, userId],
    [userId, name],
    [userId, sessionId, 'new device', userAgent, address],
    [userId, uuid7(), sessionId, address]
  ]
  return transaction(async (run) => {
    let session
    for (const [n, [statement, text]] of BEGIN_GUEST.entries()) {
      const found = await run(statement, text, values[n])
      if (statement === 'begun') session = found[0]
    }
    return session
  })
}

export const createGuestAtOnce = (...from) => createGuest(...from, guestAtOnce)

export async function createGuest(userAgent, address, insert = guestInTransaction) {
  const [userId, sessionId] = [uuid7(), uuid7()]
  const name = `guest-${randomBytes(6).toString('hex')}`
  const session = await insert(userId, sessionId, name, userAgent, address)
  const token = await new SignJWT({ client_id: JWT_CLIENT_ID, sid: sessionId })
    .setProtectedHeader(header)
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(userId)
    .setJti(crypto.randomUUID())
    .setIssuedAt(session.created_at)
    .setNotBefore(session.created_at)
    .setExpirationTime(session.expires_at)
    .sign(key)
  return {
    token,
    expiresAt: session.expires_at,
    session: { id: sessionId, label: session.label }
  }
}

export async function revokeSessionAtOnce(viewer, id, address) {
  const values = [viewer.id, id, viewer.sessionId, uuid7(), address]
  const [ended] = await rows('revoke', REVOKE, values)
  return { status: ended ? 'REVOKED' : 'NOT_FOUND' }
}

export async function revokeSession(viewer, id, address) {
  return transaction(async (run) => {
    const [ended] = await run('end', END, [viewer.id, id, viewer.sessionId])
    if (!ended) return { status: 'NOT_FOUND' }
    await run('ended', ENDED, [viewer.id, uuid7(), id, viewer.sessionId, address])
    return { status: 'REVOKED' }
  })
}
