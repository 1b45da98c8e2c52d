"""Memory held by the responses of a server, from their start until the last byte is sent, and its limit."""

from splat_serving.database.errors import BusyError
from splat_serving.http.workers import Lane


class Memory:
    """Counts answers and the bytes they hold. For the tasks of one event loop.

    Long answers may take seven eighths of the memory and max_long answers may be in progress: the rest is for short ones.
    """

    def __init__(self, max_bytes: int, max_long: int) -> None:
        self._max_bytes = max_bytes
        self._max_long = max_long
        self.held_bytes = 0
        self.n_long = 0

    def hold(self, n_bytes: int, lane: Lane = "short") -> "Holding":
        """Count a response and its bytes; BusyError if the limit is exceeded."""
        most = self._max_bytes if lane == "short" else self._max_bytes // 8 * 7
        if self.held_bytes and self.held_bytes + n_bytes > most:
            raise BusyError(f"{self.held_bytes:,} bytes of other responses are being sent; retry later")
        if lane == "long" and self.n_long >= self._max_long:
            raise BusyError(f"{self.n_long} long responses are in progress; retry later")
        return Holding(self, n_bytes, lane)


class Holding:
    """One answer, and the bytes that it holds."""

    def __init__(self, memory: Memory, n_bytes: int, lane: Lane) -> None:
        self._memory = memory
        self._n_bytes = 0
        self._is_long = lane == "long"
        memory.n_long += self._is_long
        self.change(n_bytes)

    def change(self, n_bytes: int) -> None:
        """Update the bytes that the response holds; it is in progress and no longer rejected."""
        self._memory.held_bytes += n_bytes - self._n_bytes
        self._n_bytes = n_bytes

    def release(self) -> None:
        """Release everything."""
        self.change(0)
        self._memory.n_long -= self._is_long
        self._is_long = False
