"""The commands about users."""

from datetime import datetime, timedelta

from auth import codes
from db import administration, events, link_codes, sessions, users
from db.engine import Database
from db.events import EventRow
from db.sessions import SessionRow
from db.users import UserRow
from server.commands import NothingFound, RefusedError, say, show_json, show_table, work
from server.session_commands import HISTORY, LISTED, OPERATOR, event, find_user, told
from settings import Settings

CODE_LIFETIME = timedelta(minutes=10)  # time to tell it on the phone
ENDED = 20  # ended sessions shown of a user


def show_list(settings: Settings, *, admins: bool, limit: int, json: bool) -> None:
    """Lists users."""

    async def do(pool: Database) -> list[UserRow]:
        return await pool.read(lambda db: users.newest(db, limit=limit, administrators=admins))

    rows = [person(user) for user in work(settings, do)]
    show_json(rows) if json else show_table(rows)


def show(settings: Settings, name: str, *, json: bool) -> None:
    """Shows a user, their sessions and what happened to them."""

    async def do(pool: Database) -> tuple[UserRow, list[SessionRow], list[EventRow]]:
        user = await find_user(pool, name)
        rows = await pool.read(
            lambda db: sessions.live_and_ended(db, user.id, first=user.id, limit=ENDED)
        )
        history = await pool.read(lambda db: events.of_user(db, user.id, limit=HISTORY))
        return user, rows, history

    user, rows, history = work(settings, do)
    listed = [told(row, user) for row in rows]
    if json:
        show_json(person(user) | {"sessions": listed, "history": [event(row) for row in history]})
        return
    show_table([person(user)])
    show_table(
        [{key: row[key] for key in LISTED if key != "username"} for row in listed],
        title="\nSessions",
    )
    show_table([event(row) for row in history], title="\nHistory, newest first")


def promote(settings: Settings, name: str, *, demote: bool, json: bool) -> None:
    """Makes a user an administrator, or takes the role away."""

    async def do(pool: Database) -> tuple[UserRow, bool]:
        user = await find_user(pool, name)
        async with pool.begin() as db:
            await users.lock(db, user.id)
            now = await users.find(db, user.id)
            if now and now.is_guest and not demote:
                raise RefusedError(
                    f"{user.username} is a guest, and guests have nothing to prove who they are:"
                    " let them claim an account first."
                )
            return user, await users.set_role(db, user.id, None if demote else "ADMIN")

    user, changed = work(settings, do)
    if json:
        show_json({"user": user.id, "administrator": not demote, "changed": changed})
        return
    what = "no administrator any more" if demote else "an administrator"
    say(f"{user.username} is {what}." if changed else f"{user.username} was that before.")


def disable(settings: Settings, name: str, *, enable: bool, json: bool) -> None:
    """Disables a user, or undoes it."""

    async def do(pool: Database) -> tuple[UserRow, bool, int]:
        user = await find_user(pool, name)
        async with pool.begin() as db:
            await users.lock(db, user.id)
            changed, ended = await administration.set_disabled(
                db, user.id, OPERATOR, disabled=not enable
            )
        return user, changed, len(ended)

    user, changed, ended = work(settings, do)
    if json:
        show_json({"user": user.id, "disabled": not enable, "changed": changed, "sessions": ended})
    elif not changed:
        say(f"{user.username} was that before.")
    elif enable:
        say(f"{user.username} can sign in again.")
    else:
        say(f"{user.username} is disabled; {ended} sessions have ended.")


def link_code(settings: Settings, name: str, *, json: bool) -> None:
    """Makes a code for who has lost every device; the operator tells it to them."""

    async def do(pool: Database) -> tuple[UserRow, str, datetime]:
        user = await find_user(pool, name)
        code = codes.new_link_code()
        async with pool.begin() as db:
            await users.lock(db, user.id)
            now = await users.find(db, user.id)
            if now is None or now.disabled_at:
                raise NothingFound(f"{user.username} is disabled: enable them first.")
            expires_at = await link_codes.create(
                db, user.id, None, codes.hash_of_own(code), lifetime=CODE_LIFETIME
            )
        return user, code, expires_at

    user, code, expires_at = work(settings, do)
    if json:
        show_json({"user": user.id, "code": code, "expires": expires_at})
    else:
        say(
            f"{code}\nTell it to {user.username} and nobody else. It lets them in once,"
            f" until {expires_at:%H:%M:%S} UTC."
        )


def person(user: UserRow) -> dict[str, object]:
    """A user, by the names that people and scripts read."""
    return {
        "id": user.id,
        "username": user.username,
        "guest": user.is_guest,
        "administrator": user.is_administrator,
        "created": user.created_at,
        "disabled": user.disabled_at,
    }
