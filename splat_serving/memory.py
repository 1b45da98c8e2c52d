"""What the answers of one server hold in memory from the moment they are begun until their last byte is taken, and its bound."""

from splat_serving.errors import BusyError


class Memory:
    """Counts bytes that answers hold. For the tasks of one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def hold(self, n_bytes: int) -> "Holding":
        """Count the bytes of an answer; BusyError when others hold so much that they are beyond the bound."""
        if self.held_bytes and self.held_bytes + n_bytes > self._max_bytes:
            raise BusyError(f"{self.held_bytes:,} bytes of other answers wait for their clients; ask again")
        return Holding(self, n_bytes)


class Holding:
    """The bytes that one answer holds."""

    def __init__(self, memory: Memory, n_bytes: int) -> None:
        self._memory = memory
        self._n_bytes = 0
        self.change(n_bytes)

    def change(self, n_bytes: int) -> None:
        """Count what the answer holds now; it is under way and is not refused any more."""
        self._memory.held_bytes += n_bytes - self._n_bytes
        self._n_bytes = n_bytes

    def release(self) -> None:
        """The answer holds nothing any more."""
        self.change(0)
