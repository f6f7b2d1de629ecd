"""What people and programs hold for a short while and send back once: link codes, keys of retries.

Both open something, so only their hashes are stored. A plain hash is enough: 80 random bits are not
guessed within a code's minutes, and a key is made by the client for one request.
"""

import hashlib
import re
import secrets

# Crockford's base 32: no letter is mistaken for another or for a digit, on paper or on the phone.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1", "-": "", " ": ""})
LENGTH = 16  # characters of 5 bits: 80 bits
GROUP = 4

IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{22,128}")  # visible ASCII: 128 random bits in base64 fit


def new_link_code() -> str:
    """A code such as `7K3M-Q9XA-2VTD-0HFC`."""
    drawn = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return "-".join(drawn[i : i + GROUP] for i in range(0, LENGTH, GROUP))


def link_code_hash(code: str) -> bytes | None:
    """The hash of a code as a person typed it, in whatever case and groups; None if it is none."""
    read = code.upper().translate(MISREAD)
    if len(read) != LENGTH or not set(read) <= set(ALPHABET):
        return None
    return digest("link code", read)


def hash_of_own(code: str) -> bytes:
    """The hash of a code that we have just made."""
    made = link_code_hash(code)
    if made is None:
        raise RuntimeError("our own code is none")
    return made


def new_nonce() -> str:
    """A nonce of 256 bits, in base64url."""
    return secrets.token_urlsafe(32)


def idempotency_key_hash(key: str) -> bytes | None:
    """The hash of a retry's key; None if it is none."""
    return digest("idempotency key", key) if IDEMPOTENCY_KEY.fullmatch(key) else None


def digest(*parts: str | None) -> bytes:
    """SHA-256 of texts, of which each keeps its place."""
    return hashlib.sha256("\x00".join(part or "\x01" for part in parts).encode()).digest()
