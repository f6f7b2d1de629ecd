"""A session that knows whose it is."""

import uuid

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils import timezone


class Session(AbstractBaseSession):
    """A row of the session store; its key is the credential, its public id is not."""

    public_id = models.UUIDField(unique=True, default=uuid.uuid4)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    label = models.CharField(max_length=64, default="new device")
    created_at = models.DateTimeField(default=timezone.now)
    last_active_at = models.DateTimeField(default=timezone.now)

    @classmethod
    def get_session_store_class(cls) -> type:
        """The store that writes it."""
        from devices.store import SessionStore  # noqa: PLC0415 - each needs the other

        return SessionStore
