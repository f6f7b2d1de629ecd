"""The caller of a request, as a value that is passed on explicitly."""

from typing import NewType

from db.sessions import OwnedSession

# Who holds a token whose session was live when the door read it (context.judge): whoever asks for
# a Viewer is given no row that nobody has judged.
Viewer = NewType("Viewer", OwnedSession)
