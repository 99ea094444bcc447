"""nats-py's client with a short way in and out: one write per message, and no queue between the socket and its reader.

The one place with nats-py's private names. Its own way costs a message four coroutines, a queue and two turns of the
loop in each direction, and 15 µs for its headers; half of what a call on the bus costs.
"""

from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import ConnectionReconnectingError, MaxPayloadError

Hearer = Callable[[str, str, bytes, bytes], None]
"""Takes subject, reply subject, body and header block of a message, at once and without waiting for anything."""


class BusClient(Client):
    """Connects, keeps subscriptions and heals as nats-py does; messages go past its queues."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nats-py leaves it bare
        self._hearers: dict[int, Hearer] = {}

    def send(self, subject: str, body: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Sends one message now, with a header block of `write_headers`; nothing is kept for a later connection.

        uvloop writes all that is sent in one turn of the loop at once, without nats-py's flusher, which takes another
        turn. Raises ConnectionReconnectingError, and MaxPayloadError before the server would end the connection.
        """
        size = len(headers) + len(body)
        if size > self._max_payload:
            raise MaxPayloadError
        if not self.is_connected:
            raise ConnectionReconnectingError
        if headers:
            line = f"HPUB {subject} {reply} {len(headers)} {size}\r\n"
        else:
            line = f"PUB {subject} {reply} {size}\r\n"
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += len(body)
        message = b"".join((line.encode(), headers, body, b"\r\n"))
        if self._pending:  # the flusher is about to send these: a subscription must not be overtaken
            self._pending.append(message)
            self._pending_data_size += len(message)
        else:
            self._transport.write(message)

    async def sent(self) -> None:
        """Returns when the connection has room again; raises OSError when it broke."""
        await self._transport.drain()

    async def hear(self, subject: str, hearer: Hearer, *, queue: str = "") -> Subscription:
        """Subscribes; each message goes to `hearer` in the turn in which it is read."""
        self._hearers[self._sid + 1] = hearer  # the number that `subscribe` takes before anything can arrive
        return await self.subscribe(subject, queue=queue)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        hearer = self._hearers.get(sid)
        if hearer is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        try:
            hearer(subject.decode(), reply.decode(), data, headers or b"")
        except Exception as error:  # it would end the reading of this connection
            await self._error_cb(error)
