"""Records on the bus: small values that all replicas of a service share, changed by compare-and-set.

JetStream key-value (NATS ADR-8), kept in memory: a record has to be something that can be lost or made again. Asked
past nats-py's own way, which costs five times as much and delivers a change late after a broken connection.
"""

import asyncio
import base64
import re
from itertools import count
from typing import Any, NamedTuple

import orjson
from nats.errors import Error as NatsError

from shared.bus.client import BusClient
from shared.bus.headers import NOBODY_LISTENS, STATUS, read_headers, write_headers
from shared.errors import PlatformError, Unavailable

ANSWER_WITHIN_S = 1.0
KEPT_S = 3600
"""How long a record is kept after it was changed last."""
MAX_BYTES = 128 * 1024 * 1024

_KEY = re.compile(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*")
_NO_MESSAGE, _NO_STREAM, _OTHER_STREAM = 10037, 10059, 10058
_CHANGED = frozenset({10071, 10164})


class NoRecords(PlatformError):
    """The NATS server keeps no records, or not for this user; trying again would change nothing."""

    reason = "no-records"


class RecordsUnavailable(Unavailable):
    """The records cannot be read or changed right now. A change under way may have been made."""

    reason = "records-unavailable"


class RecordChanged(Exception):
    """Somebody else has changed the record, or it was lost; nothing was written."""


class Revision(NamedTuple):
    """A state of a record. It is known by its number as long as the server, and so the connection, lives."""

    connection: int
    number: int


class Found(NamedTuple):
    """A record as it was found; None when there is none."""

    value: bytes | None
    revision: Revision


class Records:
    """The records of one bucket."""

    def __init__(self, client: BusClient, inbox: str, bucket: str) -> None:
        self._client = client
        self._inbox = inbox
        self._bucket = bucket
        self._tokens = count()
        self._pending: dict[str, asyncio.Future[tuple[bytes, bytes]]] = {}
        self._connection = 0
        self._loop = asyncio.get_running_loop()

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended for good."""
        return self._client.is_closed

    async def start(self) -> None:
        """Makes the bucket unless it is there; raises NoRecords."""
        await self._client.hear(f"{self._inbox}.*", self._receive)
        try:
            await self._make()
        except RecordsUnavailable as error:
            raise NoRecords(
                f"The NATS server offers this service no bucket {self._bucket}: JetStream or the permission is missing "
                "in its configuration (deploy/nats/permissions.py)."
            ) from error

    async def get(self, key: str) -> Found:
        """The record of `key`; raises RecordsUnavailable."""
        connection = self._connection
        answer = await self._ask(read_subject(self._bucket), orjson.dumps({"last_by_subj": self._subject(key)}))
        error = _error_in(answer)
        if error is None:
            message = answer["message"]
            return Found(base64.b64decode(message.get("data", "")), Revision(connection, message["seq"]))
        if error == _NO_STREAM:
            await self._make()
        elif error != _NO_MESSAGE:
            raise RecordsUnavailable("The records cannot be read right now.")
        return Found(None, Revision(connection, 0))

    async def put(self, key: str, value: bytes, *, after: Revision) -> Revision:
        """Replaces the record as it was at `after`; raises RecordChanged or RecordsUnavailable."""
        if after.connection != self._connection:
            raise RecordChanged  # a server that has started again begins to count at 1
        headers = write_headers({"Nats-Expected-Last-Subject-Sequence": str(after.number)})
        answer = await self._ask(self._subject(key), value, headers)
        error = _error_in(answer)
        if error is None:
            return Revision(after.connection, answer["seq"])
        if error == _NO_STREAM:
            await self._make()
        elif error not in _CHANGED:
            raise RecordsUnavailable("The records cannot be changed right now.")
        raise RecordChanged

    def disconnected(self) -> None:
        """The connection broke: answers are lost with it, and perhaps the records."""
        self._connection += 1
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(RecordsUnavailable("The bus broke while a record was asked for."))

    async def _make(self) -> None:
        """The bucket, unless it is there; another form of it, made by another version, does as well."""
        answer = await self._ask(create_subject(self._bucket), orjson.dumps(_stream(self._bucket)))
        if _error_in(answer) not in (None, _OTHER_STREAM):
            raise RecordsUnavailable("The records cannot be kept right now.")

    def _subject(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError("not a record's key")
        return f"$KV.{self._bucket}.{key}"

    async def _ask(self, subject: str, body: bytes, headers: bytes = b"") -> Any:
        token = f"{next(self._tokens):x}"
        reply = self._pending[token] = self._loop.create_future()
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                self._client.send(subject, body, reply=f"{self._inbox}.{token}", headers=headers)
                answer, said = await reply
        except (NatsError, TimeoutError) as error:
            raise RecordsUnavailable("The bus keeps no records right now.") from error
        finally:
            del self._pending[token]
        if said and read_headers(said).get(STATUS) == NOBODY_LISTENS:
            return {"error": {"err_code": _NO_STREAM}}  # nobody listens on the subject of a stream that is gone
        return orjson.loads(answer)

    def _receive(self, subject: str, _reply: str, body: bytes, headers: bytes) -> None:
        reply = self._pending.get(subject.rpartition(".")[2])
        if reply is not None and not reply.done():
            reply.set_result((body, headers))


def create_subject(bucket: str) -> str:
    """Where a bucket is made: the API of its own account, under a name of ours."""
    return f"$JS.{bucket}.API.STREAM.CREATE.KV_{bucket}"


def read_subject(bucket: str) -> str:
    """Where a bucket's records are asked for. The leader answers, so that nothing old is read."""
    return f"$JS.{bucket}.API.STREAM.MSG.GET.KV_{bucket}"


def record_subject(bucket: str) -> str:
    """Where all records of a bucket are."""
    return f"$KV.{bucket}.>"


def _stream(bucket: str) -> dict[str, object]:
    return {
        "name": f"KV_{bucket}",
        "subjects": [record_subject(bucket)],
        "storage": "memory",
        "retention": "limits",
        "discard": "new",  # a full bucket refuses: what made room would be somebody's count
        "max_msgs_per_subject": 1,
        "max_age": KEPT_S * 10**9,
        "max_bytes": MAX_BYTES,
        "num_replicas": 1,
    }


def _error_in(answer: dict[str, Any]) -> int | None:
    error = answer.get("error")
    return None if error is None else int(error.get("err_code", 0))
