"""Coroutines around the runtime's futures. Nothing here decides anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any


async def call(start: Callable[[], Any]) -> Any:
    """Awaits a future that is started now; cancelling drops it."""
    return await start()


async def run_to_its_end(start: Callable[[], Any], stop: Callable[[], None]) -> Any:
    """Awaits a run. Cancelling stops it, and waits until its record is sealed."""
    future = start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.cancelled():
            stop()
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # retrieved: the cancellation is what the caller hears of
        raise


async def _result_of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def submit(
    awaitable: Awaitable[Any],
    loop: asyncio.AbstractEventLoop,
    done: Callable[[Future[Any]], None],
) -> Future[Any]:
    """Awaits on a loop that runs in another thread; `done` is told when there is a result."""
    future = asyncio.run_coroutine_threadsafe(_result_of(awaitable), loop)
    future.add_done_callback(done)
    return future
