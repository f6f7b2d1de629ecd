"""The paths."""

import views
from django.urls import path

urlpatterns = [
    path("me", views.me),
    path("sessions", views.sessions),
    path("sessions/<uuid:id>", views.revoke_session),
]
