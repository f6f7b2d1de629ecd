"""Django's database store, with the user in a column of its own."""

import hashlib
import uuid
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db

from devices.models import Session


class SessionStore(db.SessionStore):
    """As Django's documentation extends it."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """The table."""
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """A row: saved twice at a log-in, so its public id follows from its key."""
        row = super().create_model_instance(data)
        row.user_id = data.get(SESSION_KEY)
        row.public_id = public_id(self.session_key)
        return row


def public_id(key: str) -> uuid.UUID:
    """What others may know of a session."""
    return uuid.UUID(bytes=hashlib.sha256(key.encode()).digest()[:16])
