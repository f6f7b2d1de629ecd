"""What happened to a user's sessions between two looks at their rows."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from db.sessions import OwnedSession


class ChangeKind(StrEnum):
    """As the contract names them."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one session, and the session afterwards; a deleted one as it was last."""

    kind: ChangeKind
    row: OwnedSession


class Seen:
    """The sessions of a user, but for one's own, as they were when somebody last looked."""

    def __init__(self, own: UUID, rows: Iterable[OwnedSession]) -> None:
        self._own = own
        self._rows = self._others(rows)

    def gone(self, rows: Iterable[OwnedSession]) -> set[UUID]:
        """The sessions that lived and are not among the rows any more: ended, or deleted."""
        present = {row.session.id for row in rows}
        lived = {key for key, row in self._rows.items() if row.session.is_live}
        return lived - present

    def compare(
        self, rows: Iterable[OwnedSession], ended: Mapping[UUID, OwnedSession]
    ) -> list[Change]:
        """What happened since then; these rows are what was seen last from now on.

        ended: the rows of those that are gone, as far as there still are any.
        """
        before, self._rows = self._rows, self._others(rows)
        changes = [
            change
            for key, row in self._rows.items()
            for change in differences(before.get(key), row)
        ]
        for key, last in before.items():
            if key not in self._rows and last.session.is_live:
                changes.append(Change(end_of(ended.get(key)), ended.get(key, last)))
        return changes

    def _others(self, rows: Iterable[OwnedSession]) -> dict[UUID, OwnedSession]:
        return {row.session.id: row for row in rows if row.session.id != self._own}


def differences(before: OwnedSession | None, now: OwnedSession) -> list[Change]:
    """What happened to a session that is there; activity is nothing that happens."""
    changes = []
    if before is None:
        changes.append(Change(ChangeKind.CREATED, now))
    elif (before.session.label, before.session.authenticated_at) != (
        now.session.label,
        now.session.authenticated_at,
    ):
        changes.append(Change(ChangeKind.UPDATED, now))
    if not now.session.is_live and (before is None or before.session.is_live):
        changes.append(Change(end_of(now), now))
    return changes


def end_of(row: OwnedSession | None) -> ChangeKind:
    """How a session ended; one whose row is gone counts as revoked."""
    expired = row is not None and row.session.status == "EXPIRED"
    return ChangeKind.EXPIRED if expired else ChangeKind.REVOKED
