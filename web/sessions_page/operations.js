// The documents that the page sends.

const SESSION = `fragment S on Session {
  id label status isCurrent createdAt lastActiveAt authenticatedAt expiresAt idleExpiresAt
  revokedAt revokedReason client { name os deviceType ipAddress }
}`;
const SIGNED_IN = "token userErrors { code message path }";

export const HOME = `query Home { viewer { id username isGuest } mySessions { ...S } } ${SESSION}`;
export const EVENTS = `subscription Events { mySessionEvents { kind session { ...S } } } ${SESSION}`;

export const CREATE = `mutation Create($input: CreateSessionInput!) {
  createSession(input: $input) { ${SIGNED_IN} }
}`;
export const CLAIM = `mutation Claim($username: String!, $password: String!, $others: Boolean!) {
  claimAccount(username: $username, password: $password, revokeOthers: $others) { ${SIGNED_IN} }
}`;
export const CHANGE_PASSWORD = `mutation ChangePassword($current: String, $next: String!) {
  changePassword(currentPassword: $current, newPassword: $next) { ${SIGNED_IN} }
}`;
export const REAUTHENTICATE = `mutation Reauthenticate($credentials: CredentialsInput!) {
  reauthenticate(credentials: $credentials) { ${SIGNED_IN} }
}`;

export const RENAME = `mutation Rename($id: ID!, $label: String!) {
  renameSession(id: $id, label: $label) { session { ...S } userErrors { code message path } }
} ${SESSION}`;
export const REVOKE = `mutation Revoke($id: ID) {
  revokeSession(id: $id) { status session { ...S } }
} ${SESSION}`;
export const REVOKE_OTHERS = `mutation RevokeOthers {
  revokeOtherSessions { revokedCount sessions { ...S } }
} ${SESSION}`;
export const REVOKE_ALL = "mutation RevokeAll { revokeAllSessions { revokedCount } }";
export const LINK_CODE = `mutation LinkCode {
  createLinkCode { code expiresAt userErrors { code message path } }
}`;
export const DELETE_ACCOUNT = `mutation DeleteAccount($name: String!) {
  deleteAccount(confirmUsername: $name) { deleted userErrors { code message path } }
}`;

// Answers FORBIDDEN to everybody but administrators: no other field tells who is one.
export const MAY_I = "query MayI { sessions(first: 1) { pageInfo { hasNextPage } } }";
export const EVERYBODY = `query Everybody($filter: SessionFilter, $first: Int!, $after: String) {
  sessions(filter: $filter, first: $first, after: $after) {
    edges { node { ...S user { id username isGuest } } } pageInfo { hasNextPage endCursor }
  }
} ${SESSION}`;
export const REVOKE_MANY = `mutation RevokeMany($filter: SessionFilter!, $dryRun: Boolean!) {
  revokeSessions(filter: $filter, dryRun: $dryRun) {
    revokedCount sessions { id label user { username } }
  }
}`;
