"""Letting another device sign in."""

from datetime import timedelta

from auth import codes
from context import Info, fresh, hold, signed_in
from db import link_codes
from schema.types import CreateLinkCodePayload, UserError, UserErrorCode

LIFETIME = timedelta(minutes=5)  # time to walk to the other device; a guess has 2^80 to choose from
MAX_OPEN = 3  # of one user


async def create_link_code(info: Info) -> CreateLinkCodePayload:
    """A code with which another device signs in as the caller, once, soon."""
    viewer = await fresh(info.context, signed_in(info))
    code = codes.new_link_code()
    async with info.context.begin() as db:
        await fresh(info.context, await hold(db, viewer))  # a guest may be an account by now
        if await link_codes.count_open(db, viewer.user_id) >= MAX_OPEN:
            return CreateLinkCodePayload(code=None, expires_at=None, user_errors=[too_many()])
        expires_at = await link_codes.create(
            db, viewer.user_id, viewer.session_id, codes.hash_of_own(code), lifetime=LIFETIME
        )
    return CreateLinkCodePayload(code=code, expires_at=expires_at, user_errors=[])


def too_many() -> UserError:
    """What a person is told who has as many open codes as there may be."""
    return UserError(
        code=UserErrorCode.LINK_CODE_LIMIT,
        message=f"There are {MAX_OPEN} open codes already. Use one, or wait until one has expired.",
        path=None,
    )
