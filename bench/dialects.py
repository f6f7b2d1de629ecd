"""How each contender is spoken to: the bytes of its requests, and what its answers say."""

import json
from dataclasses import dataclass
from typing import Any

VIEWER = "{ viewer { id username } }"
LIST = "{ mySessions { id label status isCurrent createdAt lastActiveAt expiresAt } }"
CREATE = "mutation { createSession { token expiresAt session { id label } } }"
REVOKE = "mutation($id: ID!) { revokeSession(id: $id) { status } }"
UNAUTHORIZED = 401
OPERATIONS = ("viewer", "list", "create", "revoke")


@dataclass(frozen=True)
class Caller:
    """Somebody who is signed in, and what they show for it."""

    user_id: str
    username: str
    session_id: str
    credential: str


@dataclass(frozen=True)
class Request:
    """The bytes of a request, the status of a right answer, and what only that holds."""

    text: str
    mark: str
    status: str = "200"


def http(method: str, path: str, body: object = None, **headers: str) -> str:
    """A request of HTTP/1.1, as text of which each character is a byte."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: Mozilla/5.0 (bench)"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if content:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "", content.decode()])


def bearer(credential: str) -> dict[str, str]:
    """A token in its header."""
    return {"Authorization": f"Bearer {credential}"}


@dataclass(frozen=True)
class GraphQL:
    """One endpoint, our contract's fields."""

    def _post(self, query: str, credential: str = "", **variables: str) -> str:
        body = {"query": query} | ({"variables": variables} if variables else {})
        return http("POST", "/graphql", body, **(bearer(credential) if credential else {}))

    def viewer(self, caller: Caller) -> Request:
        """Asks who calls."""
        return Request(self._post(VIEWER, caller.credential), caller.username)

    def list(self, caller: Caller) -> Request:
        """Asks for the caller's sessions."""
        return Request(self._post(LIST, caller.credential), caller.session_id)

    def create(self) -> Request:
        """Asks for a guest and a session."""
        return Request(self._post(CREATE), '"eyJ')

    def revoke(self, caller: Caller, target: str) -> Request:
        """Ends one of the caller's sessions."""
        return Request(self._post(REVOKE, caller.credential, id=target), "REVOKED")

    def refuses(self, status: int, answer: Any) -> bool:
        """Whether this is the answer to somebody whose session has ended."""
        return status == UNAUTHORIZED and "viewer" not in f"{answer}"

    def told(self, answer: Any, operation: str) -> Any:
        """The value of the operation's field."""
        fields = {"viewer": "viewer", "list": "mySessions", "create": "createSession"}
        return answer["data"][fields[operation]]


@dataclass(frozen=True)
class Rest:
    """Paths and methods; what is shown goes into the header that `show` makes."""

    cookie: str = ""  # its name, where that is what is shown
    created: str = '"eyJ'  # what only a new session's answer holds

    def _headers(self, credential: str) -> dict[str, str]:
        return {"Cookie": f"{self.cookie}={credential}"} if self.cookie else bearer(credential)

    def viewer(self, caller: Caller) -> Request:
        """Asks who calls."""
        return Request(http("GET", "/me", **self._headers(caller.credential)), caller.username)

    def list(self, caller: Caller) -> Request:
        """Asks for the caller's sessions."""
        text = http("GET", "/sessions", **self._headers(caller.credential))
        return Request(text, caller.session_id)

    def create(self) -> Request:
        """Asks for a guest and a session."""
        return Request(http("POST", "/sessions", {}), self.created, "201")

    def revoke(self, caller: Caller, target: str) -> Request:
        """Ends one of the caller's sessions."""
        text = http("DELETE", f"/sessions/{target}", **self._headers(caller.credential))
        return Request(text, "REVOKED")

    def refuses(self, status: int, answer: Any) -> bool:
        """Whether this is the answer to somebody whose session has ended."""
        del answer
        return status == UNAUTHORIZED

    def told(self, answer: Any, operation: str) -> Any:
        """The whole answer."""
        del operation
        return answer


@dataclass(frozen=True)
class Static(Rest):
    """The same answer to everybody."""

    def viewer(self, caller: Caller) -> Request:
        """A constant."""
        return Request(super().viewer(caller).text, "everybody")


@dataclass(frozen=True)
class BetterAuth:
    """better-auth's own paths, and its cookie."""

    def _send(self, method: str, path: str, credential: str, body: object = None) -> str:
        headers = {"Origin": "http://127.0.0.1"}
        if credential:
            headers["Cookie"] = f"better-auth.session_token={credential}"
        return http(method, f"/api/auth/{path}", body, **headers)

    def viewer(self, caller: Caller) -> Request:
        """Asks who calls."""
        return Request(self._send("GET", "get-session", caller.credential), caller.username)

    def list(self, caller: Caller) -> Request:
        """Asks for the caller's sessions."""
        return Request(self._send("GET", "list-sessions", caller.credential), caller.session_id)

    def create(self) -> Request:
        """Asks for a guest and a session."""
        return Request(self._send("POST", "sign-in/anonymous", "", {}), "token")

    def revoke(self, caller: Caller, target: str) -> Request:
        """Ends one of the caller's sessions, by its token."""
        body = {"token": target}
        return Request(self._send("POST", "revoke-session", caller.credential, body), "status")

    def refuses(self, status: int, answer: Any) -> bool:
        """Whether this is the answer to somebody whose session has ended."""
        del status
        return answer is None

    def told(self, answer: Any, operation: str) -> Any:
        """The answer in our words."""
        if operation == "viewer":
            return {"id": answer["user"]["id"], "username": answer["user"]["name"]}
        return {"session": {"id": answer["token"]}} if operation == "create" else answer


GRAPHQL = GraphQL()
Dialect = GraphQL | Rest | BetterAuth
