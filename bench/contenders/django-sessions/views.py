"""What clients may ask."""

import secrets
import uuid
from collections.abc import Callable
from typing import Any

from devices.models import Session
from devices.store import public_id
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone

View = Callable[..., HttpResponse]


def signed_in(view: View) -> View:
    """A view for those who are signed in."""

    def guarded(request: HttpRequest, **parts: Any) -> HttpResponse:
        if not request.user.is_authenticated:
            return JsonResponse({"error": "unauthenticated"}, status=401)
        return view(request, **parts)

    return guarded


@signed_in
def me(request: HttpRequest) -> HttpResponse:
    """Who the caller is."""
    return JsonResponse({"id": str(request.user.pk), "username": request.user.username})


def sessions(request: HttpRequest) -> HttpResponse:
    """The caller's sessions, or a new one."""
    return create_session(request) if request.method == "POST" else list_sessions(request)


@signed_in
def list_sessions(request: HttpRequest) -> HttpResponse:
    """The caller's sessions."""
    own = request.session.session_key
    rows = Session.objects.filter(user=request.user, expire_date__gt=timezone.now())
    rows = rows.order_by("-last_active_at").defer("session_data")
    found = [
        {
            "id": str(row.public_id),
            "label": row.label,
            "status": "ACTIVE",
            "isCurrent": row.session_key == own,
            "createdAt": row.created_at,
            "lastActiveAt": row.last_active_at,
            "expiresAt": row.expire_date,
        }
        for row in rows
    ]
    found.sort(key=lambda session: not session["isCurrent"])
    return JsonResponse(found, safe=False)


@transaction.atomic
def create_session(request: HttpRequest) -> HttpResponse:
    """A guest, and their first session."""
    user = User.objects.create(username=f"guest-{secrets.token_hex(6)}", password="!")  # noqa: S106 - none
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    session = {"id": str(public_id(request.session.session_key)), "label": "new device"}
    expires = request.session.get_expiry_date()
    return JsonResponse({"session": session, "expiresAt": expires}, status=201)


@signed_in
def revoke_session(request: HttpRequest, id: uuid.UUID) -> HttpResponse:
    """Ends one of the caller's sessions."""
    ended, _ = Session.objects.filter(public_id=id, user=request.user).delete()
    return JsonResponse({"status": "REVOKED" if ended else "NOT_FOUND"})
