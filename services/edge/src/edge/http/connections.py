"""How many connections there may be, so that one stranger cannot take the door from everybody."""

from collections import Counter
from collections.abc import Callable

MAX_CONNECTIONS = 8192
MAX_OF_ONE_ADDRESS = 1024


class Connections:
    """Counts open connections by address. `is_proxy` tells the addresses of our own proxies, which speak for many."""

    def __init__(self, is_proxy: Callable[[str], bool]) -> None:
        self._is_proxy = is_proxy
        self._of = Counter[str]()

    def admit(self, address: str) -> bool:
        """Takes a new connection into the count; False when there are too many, and it should be closed."""
        self._of[address] += 1
        if self._of.total() > MAX_CONNECTIONS:
            return False
        return self._of[address] <= MAX_OF_ONE_ADDRESS or self._is_proxy(address)

    def forget(self, address: str) -> None:
        """The connection is gone."""
        self._of[address] -= 1
        if self._of[address] <= 0:
            del self._of[address]
