"""Coroutines in tests: each in an event loop and a thread of its own, whatever else this process has running (a browser does)."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Value = TypeVar("Value")


def finished(work: Coroutine[Any, Any, Value]) -> Value:
    """What the coroutine returns."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
