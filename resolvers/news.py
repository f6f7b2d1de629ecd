"""What happens to the caller's other sessions, as it happens."""

from collections.abc import AsyncGenerator

from context import Info, signed_in
from live.held import Feed, FeedClosed
from resolvers.sessions import to_session
from schema.types import SessionEvent, SessionEventKind


def my_session_events(info: Info) -> AsyncGenerator[SessionEvent, None]:
    """From now on; raises Unauthenticated at once where nobody is signed in."""
    signed_in(info)
    if info.context.feed is None:
        raise RuntimeError("a subscription without its feed")
    return events_of(info.context.feed)


async def events_of(feed: Feed) -> AsyncGenerator[SessionEvent, None]:
    """Until nobody listens any more. Raises SlowReaderError."""
    while True:
        try:
            change = await feed.take()
        except FeedClosed:
            return
        yield SessionEvent(
            kind=SessionEventKind(change.kind.value),
            session=to_session(change.row.session, change.row.user, is_current=False),
        )
