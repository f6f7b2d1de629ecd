"""The commands about sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncConnection

from db import administration, events, session_search, sessions, users
from db.engine import Database
from db.events import Actor, By, EventRow
from db.session_search import ENDLESS, STATUSES, Filter
from db.sessions import OwnedSession, SessionRow
from db.users import UserRow
from server.commands import NothingFound, as_uuid, say, show_json, show_table, work
from settings import Settings

OPERATOR = By(Actor.OPERATOR)
HISTORY = 50  # events shown of one session or user


@dataclass(frozen=True)
class Wanted:
    """The options that say which sessions, as they were typed."""

    user: str | None
    guest: bool | None
    status: str | None
    label: str | None
    network: str | None
    created_after: str | None
    created_before: str | None
    active_after: str | None
    active_before: str | None

    async def filter(self, pool: Database) -> Filter:
        """What they mean. Raises NothingFound and typer.BadParameter."""
        if self.label == "":  # which every label holds
            raise typer.BadParameter("--label is empty")
        return Filter(
            user_id=(await find_user(pool, self.user)).id if self.user is not None else None,
            is_guest=self.guest,
            status=status(self.status),
            label=self.label,
            ip_range=network(self.network),
            created_after=time(self.created_after),
            created_before=time(self.created_before),
            last_active_after=time(self.active_after),
            last_active_before=time(self.active_before),
        )


def show_list(settings: Settings, wanted: Wanted, *, limit: int, json: bool) -> None:
    """Lists sessions of a filter."""

    async def do(pool: Database) -> list[OwnedSession]:
        found = await wanted.filter(pool)
        async with pool.begin() as db:
            return await session_search.page(db, found, after=None, limit=limit, patience=ENDLESS)

    rows = [told(row.session, row.user) for row in work(settings, do)]
    if json:
        show_json(rows)
    else:
        show_table([{name: row[name] for name in LISTED} for row in rows])


def show(settings: Settings, session_id: str, *, json: bool) -> None:
    """Shows a session and what happened to it."""

    async def do(pool: Database) -> tuple[OwnedSession, list[EventRow]]:
        found = await find_session(pool, session_id)
        user_id = found.session.user_id
        history = await pool.read(lambda db: events.of_user(db, user_id, limit=10_000))
        return found, [row for row in history if row.session_id == found.session.id][:HISTORY]

    found, history = work(settings, do)
    row = told(found.session, found.user)
    if json:
        show_json(row | {"history": [event(e) for e in history]})
        return
    show_table([{"": name, "value": value} for name, value in row.items()])
    show_table([event(e) for e in history], title="\nHistory, newest first")


def revoke(
    settings: Settings, session_id: str | None, wanted: Wanted, *, apply: bool, json: bool
) -> None:
    """Ends one session, or those of a filter; shows how many until told to apply it."""
    done = Done()

    async def do(pool: Database) -> None:
        chosen = await which(pool, session_id, wanted)
        if apply:
            await revoke_all(pool, chosen, done)
            return
        async with pool.begin() as db:
            done.count = await session_search.count_live(db, chosen, spare=None, patience=ENDLESS)

    try:
        work(settings, do)
    finally:  # an interruption or a failure leaves whole batches, and they are told
        if done.count is None:
            pass
        elif json:
            show_json({"applied": apply, "sessions": done.count})
        elif apply:
            say(f"Revoked {done.count} sessions.")
        else:
            say(f"Would revoke {done.count} sessions. Nothing was changed; --apply does it.")


@dataclass
class Done:
    """How many sessions were ended so far, or would be."""

    count: int | None = None


async def which(pool: Database, session_id: str | None, wanted: Wanted) -> Filter:
    """The filter that was typed, or the one of one session. Raises typer.BadParameter."""
    if session_id is None:
        chosen = await wanted.filter(pool)
        if chosen.is_empty:
            raise typer.BadParameter("say which sessions: an id, or one of the options")
        return chosen
    if wanted != Wanted(*[None] * len(fields(Wanted))):
        raise typer.BadParameter("an id or options, not both")
    found = (await find_session(pool, session_id)).session
    return Filter(user_id=found.user_id, session_id=found.id)


async def revoke_all(pool: Database, chosen: Filter, done: Done) -> None:
    """Ends the sessions of a filter, batch by batch, and counts them."""

    @asynccontextmanager
    async def begin(*owners: UUID) -> AsyncIterator[AsyncConnection]:
        async with pool.begin() as db:
            if owners:
                await users.lock(db, *owners)
            yield db

    done.count = 0
    with Progress(
        *(TextColumn("Revoked {task.completed:,.0f}"), SpinnerColumn(), TimeElapsedColumn()),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=None)
        async for batch in administration.revoke_where(
            begin, chosen, OPERATOR, spare=None, patience=ENDLESS
        ):
            done.count += len(batch)
            progress.update(task, completed=done.count)


# What was typed, and what is shown

LISTED = ("id", "username", "label", "status", "created", "last_active", "address", "device")


async def find_user(pool: Database, text: str) -> UserRow:
    """The user of a name or an id. Raises NothingFound."""
    user_id = as_uuid(text)
    found = None
    if user_id:
        found = await pool.read(lambda db: users.find(db, user_id))
    found = found or await pool.read(lambda db: users.find_by_name(db, text))
    if found is None:
        raise NothingFound(f"There is no user {text!r}.")
    return found


async def find_session(pool: Database, text: str) -> OwnedSession:
    """The session of an id. Raises NothingFound."""
    session_id = as_uuid(text)

    async def find(db: AsyncConnection) -> OwnedSession | None:
        owner = await session_search.owner_of(db, session_id) if session_id else None
        return await sessions.find(db, owner, session_id) if owner and session_id else None

    found = await pool.read(find)
    if found is None:
        raise NothingFound(f"There is no session {text!r}.")
    return found


def status(text: str | None) -> str | None:
    """A status that was typed. Raises typer.BadParameter."""
    if text is not None and text.upper() not in STATUSES:
        raise typer.BadParameter(f"--status: one of {', '.join(STATUSES)}")
    return text and text.upper()


def network(text: str | None) -> str | None:
    """An address or a network that was typed. Raises typer.BadParameter."""
    try:
        return None if text is None else session_search.read_network(text)
    except ValueError as error:
        raise typer.BadParameter(f"--from: {error}") from None


def time(text: str | None) -> datetime | None:
    """A time that was typed; UTC unless it says otherwise. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
        read = read if read.tzinfo else read.replace(tzinfo=UTC)
        session_search.refuse_odd_time(read)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time like 2026-01-31T12:00:00") from None
    return read


def told(row: SessionRow, user: UserRow) -> dict[str, object]:
    """A session, by the names that people and scripts read."""
    device = " on ".join(filter(None, (row.client_name, row.client_os)))
    return {
        "id": row.id,
        "user": user.id,
        "username": user.username,
        "label": row.label,
        "status": row.status,
        "created": row.created_at,
        "last_active": row.last_active_at,
        "expires": row.expires_at,
        "idle_expires": row.idle_expires_at,
        "revoked": row.revoked_at,
        "reason": row.revoked_reason,
        "address": row.ip_address,
        "device": device or row.user_agent,
    }


def event(row: EventRow) -> dict[str, object]:
    """An event, by the names that people and scripts read."""
    return {
        "at": row.at,
        "session": row.session_id,
        "event": row.kind,
        "actor": row.actor,
        "by_session": row.actor_session_id,
        "reason": row.reason,
        "address": row.ip_address,
    }
