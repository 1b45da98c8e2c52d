"""What the answers of one server hold in memory from the moment they are begun until their last byte is taken, and its bound."""

from splat_serving.database.errors import BusyError
from splat_serving.http.workers import Lane


class Memory:
    """Counts answers and the bytes they hold. For the tasks of one event loop.

    Long answers may take seven eighths of the memory and max_long answers may be under way: what is left is for short ones.
    """

    def __init__(self, max_bytes: int, max_long: int) -> None:
        self._max_bytes = max_bytes
        self._max_long = max_long
        self.held_bytes = 0
        self.n_long = 0

    def hold(self, n_bytes: int, lane: Lane = "short") -> "Holding":
        """Count an answer and its bytes; BusyError when others hold so much that they are beyond the bound."""
        most = self._max_bytes if lane == "short" else self._max_bytes // 8 * 7
        if self.held_bytes and self.held_bytes + n_bytes > most:
            raise BusyError(f"{self.held_bytes:,} bytes of other answers wait for their clients; ask again")
        if lane == "long" and self.n_long >= self._max_long:
            raise BusyError(f"{self.n_long} long answers are under way; ask again")
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
        """Count what the answer holds now; it is under way and is not refused any more."""
        self._memory.held_bytes += n_bytes - self._n_bytes
        self._n_bytes = n_bytes

    def release(self) -> None:
        """The answer holds nothing any more."""
        self.change(0)
        self._memory.n_long -= self._is_long
        self._is_long = False
