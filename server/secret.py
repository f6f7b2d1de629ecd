"""The signing secret of the embedded default: made once, kept beside the data, readable by us."""

import os
import secrets
from pathlib import Path

SECRET_BYTES = 48


def kept(path: Path) -> str:
    """The secret in a file; made, with mode 0600, when there is none.

    Written beside it and linked into place, so that of two servers that start at once both use
    the one that came first, and neither reads half of one.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        with draft.open("w") as file:
            file.write(secrets.token_urlsafe(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave an empty one
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
