"""Work that is begun before it is waited for goes on as if it had been awaited."""

import asyncio
from collections.abc import Awaitable

import pytest

from web.begun import Begun


async def noting(what: Awaitable[str], met: list[object]) -> str:
    """Waits for something, then again; notes what it meets."""
    try:
        met.append(await what)
    except (OSError, asyncio.CancelledError) as error:
        met.append(type(error))
        await asyncio.sleep(0)
        met.append("slept")
        return "caught"
    await asyncio.sleep(0)
    return "done"


async def test_work_without_anything_to_wait_for_is_done_at_once() -> None:
    async def at_once(error: Exception | None) -> str:
        if error:
            raise error
        return "done"

    begun = Begun(at_once(None))
    assert (begun.is_done, begun.value, await begun.rest()) == (True, "done", "done")
    failed = Begun(at_once(OSError("no")))
    assert failed.is_done
    with pytest.raises(OSError, match="no"):
        await failed.rest()


async def test_what_the_work_waits_for_is_given_to_it() -> None:
    coming: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    met: list[object] = []
    begun = Begun(noting(coming, met))
    assert not begun.is_done
    coming.set_result("it")
    assert await begun.rest() == "done"
    assert met == ["it"]


async def test_what_fails_fails_in_the_work() -> None:
    coming: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    met: list[object] = []
    begun = Begun(noting(coming, met))
    coming.set_exception(OSError())
    assert await begun.rest() == "caught"
    assert met == [OSError, "slept"]


async def test_the_work_is_called_off_where_it_waits() -> None:
    coming: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    met: list[object] = []
    begun = Begun(noting(coming, met))
    task = asyncio.create_task(begun.rest())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "caught"
    assert met == [asyncio.CancelledError, "slept"]
    assert coming.cancelled()
