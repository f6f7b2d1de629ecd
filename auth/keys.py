"""The keys that sign and verify tokens, looked up by `kid` and in no other way."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

ALGORITHM = "HS256"
MIN_BYTES = 32  # RFC 7518 3.2: a key as long as the hash
MIN_DISTINCT = 10  # random hex of that length has fewer once in a million; a typed line often
HOW_TO_MAKE_ONE = "make one with:  openssl rand -base64 48"
# What samples, tutorials and people put where a secret belongs. Each is so long that a random
# secret holds one of them once in a hundred thousand: `jwt` alone stood in one of 500.
SAMPLE_WORDS = (
    "secret",
    "change",
    "password",
    "passwort",
    "example",
    "sample",
    "default",
    "your-",
    "your_",
    "jwt-key",
    "jwt_key",
    "jwtkey",
    "insecure",
    "development",
    "testing",
    "qwerty",
    "lorem",
    "12345678",
    "abcdefgh",
    "keyboard",
    "production",
    "private",
    "session",
    "server",
    "strong",
    "super",
    "random",
    "unguessable",
    "replace",
    "welcome",
    "letmein",
    "master",
    "monkey",
    "dragon",
    "correcthorse",
    "batterystaple",
    "bigtwo",
)
# Random-looking ones that stand in documentation and are copied from there: of FastAPI's, of
# RFC 7515 A.1, of RFC 7520 3.5, of many tutorials for Spring.
WELL_KNOWN = frozenset(
    {
        "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
        "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    }
)


class WeakSecretError(ValueError):
    """JWT_SECRET cannot keep tokens from being forged; the message says why and what to do."""


@dataclass(frozen=True)
class Key:
    """A secret and the algorithm that it is for; nothing else may use it (RFC 8725 3.1)."""

    kid: str
    secret: bytes
    algorithm: str = ALGORITHM

    def __repr__(self) -> str:
        """The name only, never the secret."""
        return f"Key({self.kid})"


@dataclass(frozen=True)
class KeyRing:
    """One key signs; it and, during a rotation, others verify."""

    signing: Key
    verifying: Mapping[str, Key]


def ring(secret: str) -> KeyRing:
    """The key ring of one secret. Raises WeakSecretError."""
    refuse_weak(secret)
    key = Key(kid=name(secret.encode()), secret=secret.encode())
    return KeyRing(signing=key, verifying={key.kid: key})


def name(secret: bytes) -> str:
    """A key's public name: tells keys apart and says nothing about them."""
    return hmac.new(secret, b"bigtwo-sessions kid", hashlib.sha256).hexdigest()[:16]


def refuse_weak(secret: str) -> None:
    """Raises WeakSecretError for what is short, well known, or plainly not random."""
    if len(secret.encode()) < MIN_BYTES:
        raise WeakSecretError(f"JWT_SECRET is shorter than {MIN_BYTES} bytes; {HOW_TO_MAKE_ONE}")
    if "-----BEGIN" in secret or secret.lstrip().startswith("{"):
        raise WeakSecretError(
            f"JWT_SECRET looks like a PEM or JWK key, but HS256 wants random bytes;"
            f" {HOW_TO_MAKE_ONE}"
        )
    if is_known(secret) or len(set(secret)) < MIN_DISTINCT or is_repeated(secret):
        raise WeakSecretError(
            f"JWT_SECRET is a well-known or guessable text, not random; {HOW_TO_MAKE_ONE}"
        )


def is_known(secret: str) -> bool:
    """Whether a secret is a documented one, or words that a person thought of."""
    return (
        secret.rstrip("=") in WELL_KNOWN
        or any(word in secret.lower() for word in SAMPLE_WORDS)
        or " " in secret  # a phrase; of what programs make, only a line's end may stand within
    )


def is_repeated(text: str) -> bool:
    """Whether a text is a shorter one several times over."""
    return text in (text + text)[1:-1]
