"""A forger with the log's file in front of them: logs to forge, and what can be done to them."""

import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from audit.domain.canonical import canonical
from audit.domain.chain import EMPTY, Head, fingerprint
from audit.domain.entry import Row, seal
from audit.domain.erasure import ERASED, SOURCE, details_of
from audit.domain.tree import NOTHING, RightEdge
from audit.infrastructure.sqlite_reader import SqliteSnapshot
from audit.infrastructure.sqlite_rows import COLUMNS
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import leaf_hash
from shared.tlog.notes import Signer, note_of
from tests.unit.audit.logs import KEY, draft

MARKS = ", ".join("?" * 13)
NAMES = [name.strip() for name in COLUMNS.split(",")]
TABLES = ("entries", "tiles", "checkpoints", "erased")
EVE = Signer.generate(KEY.name)
"""A key that the forger has made, in the log's name."""

Tables = dict[str, list[tuple[object, ...]]]


class Log:
    """A log in memory, in the real schema. A reader that can be tampered with."""

    def __init__(self, empty: Path) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        with sqlite3.connect(empty) as source:
            source.backup(self.connection)
        source.close()
        self.head = EMPTY
        self.edge: RightEdge = NOTHING
        self._unsigned: list[bytes] = []

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        yield SqliteSnapshot(self.connection)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What happens to the log inside has not happened afterwards."""
        before = self.head, self.edge, list(self._unsigned)
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")
            self.head, self.edge, self._unsigned = before

    def empty(self) -> None:
        for table in TABLES:
            self.connection.execute(f"DELETE FROM {table}")
        self.head, self.edge, self._unsigned = EMPTY, NOTHING, []

    def append(self, rng: random.Random, **fields: object) -> None:
        id = f"{self.head.index + 1}-{rng.random()}"
        row = seal(draft(id=id, **{**random_fields(rng), **fields}), self.head, rng.randbytes(48))
        self.insert(row)
        self.head = row.head
        self._unsigned.append(leaf_hash(row.fingerprint))

    def insert(self, row: Row) -> None:
        self.connection.execute(f"INSERT INTO entries ({COLUMNS}) VALUES ({MARKS})", row)

    def erase(self, rng: random.Random, indexes: Sequence[int]) -> None:
        """As the service does it: only where there are values."""
        found = self.connection.execute('SELECT "index" FROM entries WHERE personal != \'{}\' ORDER BY "index"')
        erased = [index for (index,) in found if index in indexes]
        if not erased:
            return
        self.append(rng, source=SOURCE, action=ERASED, details=details_of(erased))
        for index in erased:
            self.connection.execute("UPDATE entries SET personal = '{}' WHERE \"index\" = ?", (index,))
            self.connection.execute("INSERT INTO erased VALUES (?, ?)", (index, self.head.index))

    def sign(self, signer: Signer = KEY) -> None:
        if not self._unsigned:
            return
        self.edge, tiles = self.edge.appended(self._unsigned)
        self._unsigned = []
        self.connection.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", tiles)
        text = Checkpoint(KEY.name, self.edge.size, self.edge.root).text
        note = note_of(text, signer.sign(text))
        self.connection.execute("INSERT INTO checkpoints VALUES (?, ?, 0)", (self.edge.size, note))

    def grow(self, rng: random.Random, entries: int) -> None:
        """Appends so many entries, with erasures and checkpoints in between."""
        until = self.head.index + entries
        while self.head.index < until:
            self.append(rng)
            if rng.random() < 0.04:
                self.erase(rng, rng.sample(range(self.head.index + 1), k=rng.randint(1, min(5, self.head.index + 1))))
            if rng.random() < 0.05:
                self.sign()

    def tables(self) -> Tables:
        return {table: self.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES}

    def restore(self, tables: Tables) -> None:
        for table, rows in tables.items():
            self.connection.execute(f"DELETE FROM {table}")
            for row in rows:
                self.connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def row(self, index: int) -> Row:
        found = self.connection.execute(f'SELECT {COLUMNS} FROM entries WHERE "index" = ?', (index,))
        return Row._make(found.fetchone())

    def before(self, index: int) -> Head:
        return self.row(index - 1).head if index else EMPTY


def random_fields(rng: random.Random) -> dict[str, object]:
    personal = {
        field: rng.choice(["", "x", "ann@example.org", "Zoë 🥜", '"\\'])
        for field in ("userEmail", "ipAddress", "userAgent")
    }
    return {
        "user_id": rng.choice(["", "ann", "bob"]),
        "outcome": rng.choice(["success", "failure", None]),
        "resource_id": rng.choice(["", "agent-1"]),
        "details": rng.choice([{}, {"a": [1, "é"]}, {"personal": '","source":"audit"'}]),
        "personal": personal,
    }


def alter_column(log: Log, rng: random.Random) -> int:
    """Any column of any entry gets another value."""
    index, column = rng.randint(0, log.head.index), rng.choice(NAMES)
    old = getattr(log.row(index), column.strip('"'))
    if column == '"index"':
        log.connection.execute('UPDATE entries SET "index" = ? WHERE "index" = ?', (log.head.index + 1 + index, index))
        return index
    new = old
    while (type(new), new) == (type(old), old):
        new = rng.choice(_others(old, rng))
    log.connection.execute(f'UPDATE entries SET {column} = ? WHERE "index" = ?', (new, index))
    return index


def _others(old: object, rng: random.Random) -> list[object]:
    if old is None:
        return ["", "success", b""]
    if isinstance(old, bytes):
        place = rng.randrange(len(old))
        flipped = old[:place] + bytes([old[place] ^ 1 << rng.randrange(8)]) + old[place + 1 :]
        return [flipped, old[:-1], old + b"\0", b"", old.hex()]
    text = str(old)
    place = rng.randrange(len(text) + 1)
    return [
        text[:place] + rng.choice("x\0 é{") + text[place:],
        text[: place - 1] + text[place:] if place else "{}",
        text.swapcase(),
        "",
        "{}",
        text.encode(),
        b"\xff",
        text + " ",
    ]


def delete(log: Log, rng: random.Random) -> int:
    first = rng.randint(0, log.head.index)
    last = min(log.head.index, first + rng.choice([0, 0, 1, 5]))
    log.connection.execute('DELETE FROM entries WHERE "index" BETWEEN ? AND ?', (first, last))
    return first


def truncate(log: Log, rng: random.Random) -> int:
    first = rng.randint(0, log.head.index)
    log.connection.execute('DELETE FROM entries WHERE "index" >= ?', (first,))
    return first


def insert(log: Log, rng: random.Random) -> None:
    """A well-made entry comes in between, and those after it move up."""
    index = rng.randint(0, log.head.index)
    _move(log, index, by=1)
    log.insert(seal(draft(id="forged", **random_fields(rng)), log.before(index), rng.randbytes(48)))


def swap(log: Log, rng: random.Random) -> int | None:
    if log.head.index < 1:
        return alter_column(log, rng)
    one, other = sorted(rng.sample(range(log.head.index + 1), 2))
    for was, becomes in ((one, -1), (other, one), (-1, other)):
        log.connection.execute('UPDATE entries SET "index" = ? WHERE "index" = ?', (becomes, was))
    return one


def replace(log: Log, rng: random.Random) -> None:
    """Another entry with a right fingerprint of its own, in the place of one."""
    index = rng.randint(0, log.head.index)
    _replace(log, index, seal(draft(id="forged", **random_fields(rng)), log.before(index), rng.randbytes(48)))


def rechain(log: Log, rng: random.Random) -> None:
    """One entry becomes another, and all after it get the fingerprints that follow from that."""
    _rechain(log, rng, rng.randint(0, log.head.index))


def rechain_with_tiles(log: Log, rng: random.Random) -> None:
    """The tree is made to fit as well; its signature is not."""
    _rechain(log, rng, rng.randint(0, log.edge.size - 1) if log.edge.size else 0)
    _rebuild_tiles(log)


def rechain_and_sign(log: Log, rng: random.Random) -> None:
    """The newest checkpoint is made to fit too, with a key that the forger has."""
    rechain_with_tiles(log, rng)
    if not log.edge.size:
        return
    text = Checkpoint(KEY.name, log.edge.size, _edge(log).root).text
    note = note_of(text, EVE.sign(text))
    log.connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (note, log.edge.size))


def alter_tile(log: Log, rng: random.Random) -> None:
    tiles = log.connection.execute("SELECT level, number, hashes FROM tiles").fetchall()
    if not tiles:
        alter_column(log, rng)
        return
    level, number, hashes = rng.choice(tiles)
    place = rng.randrange(len(hashes))
    flipped = hashes[:place] + bytes([hashes[place] ^ 1 << rng.randrange(8)]) + hashes[place + 1 :]
    how = rng.choice(["flip", "cut", "extend", "delete", "text", "move"])
    at = (level, number)
    if how == "delete":
        log.connection.execute("DELETE FROM tiles WHERE level = ? AND number = ?", at)
    elif how == "move":
        log.connection.execute("UPDATE tiles SET number = number + 7 WHERE level = ? AND number = ?", at)
    else:
        new = {"flip": flipped, "cut": hashes[:-32], "extend": hashes + bytes(32), "text": "text"}[how]
        log.connection.execute("UPDATE tiles SET hashes = ? WHERE level = ? AND number = ?", (new, *at))


def alter_checkpoint(log: Log, rng: random.Random) -> None:
    found = log.connection.execute("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1").fetchone()
    if not found:
        alter_column(log, rng)
        return
    size, note = found
    place = rng.randrange(len(note))
    letter = rng.choice([letter for letter in "Ax+\n" if letter != note[place]])
    text = Checkpoint(KEY.name, size, rng.randbytes(32)).text
    how = rng.choice(["letter", "size", "blob", "signer"])
    if how == "size":
        log.connection.execute("UPDATE checkpoints SET size = size + 1 WHERE size = ?", (size,))
    else:
        new = {
            "letter": note[:place] + letter + note[place + 1 :],
            "blob": note.encode(),
            "signer": note_of(text, EVE.sign(text)),
        }[how]
        log.connection.execute("UPDATE checkpoints SET note = ? WHERE size = ?", (new, size))


def take_values(log: Log, rng: random.Random) -> int:
    """Values go without an erasure; the place where erasures are looked up may say what it likes."""
    with_values = log.connection.execute("SELECT \"index\" FROM entries WHERE personal != '{}'").fetchall()
    if not with_values:
        return alter_column(log, rng)
    index = int(rng.choice(with_values)[0])
    log.connection.execute("UPDATE entries SET personal = '{}' WHERE \"index\" = ?", (index,))
    if rng.random() < 0.7:
        entry = rng.randint(0, log.head.index)
        log.connection.execute("INSERT OR REPLACE INTO erased VALUES (?, ?)", (index, entry))
    return index


def widen_erasure(log: Log, rng: random.Random) -> int | None:
    """An erasure is made to name all entries before it, and one of them loses its values."""
    erasures = log.connection.execute("SELECT DISTINCT entry FROM erased").fetchall()
    if not erasures:
        return take_values(log, rng)
    (entry,) = rng.choice(erasures)
    body = orjson.loads(log.row(entry).body)
    body["details"]["erased"] = [[0, entry - 1]]
    if canonical(body) == log.row(entry).body:
        return take_values(log, rng)
    log.connection.execute('UPDATE entries SET body = ? WHERE "index" = ?', (canonical(body), entry))
    index = rng.randint(0, entry - 1)
    log.connection.execute("UPDATE entries SET personal = '{}' WHERE \"index\" = ?", (index,))
    log.connection.execute("INSERT OR REPLACE INTO erased VALUES (?, ?)", (index, entry))
    return None


def forget_erasure(log: Log, rng: random.Random) -> int:
    found = log.connection.execute('SELECT "index" FROM erased').fetchall()
    if not found:
        return take_values(log, rng)
    (index,) = rng.choice(found)
    log.connection.execute('DELETE FROM erased WHERE "index" = ?', (index,))
    return int(index)


def damage(log: Log, rng: random.Random) -> int:
    index, column = rng.randint(0, log.head.index), rng.choice(["id", "user_id", "personal", "timestamp"])
    log.connection.execute(f"UPDATE entries SET {column} = CAST(x'c328' AS TEXT) WHERE \"index\" = ?", (index,))
    return index


Tampering = Callable[[Log, random.Random], int | None]
"""Forges a log; returns the first entry that is bad, if that can be said exactly."""

ALWAYS_FOUND: tuple[Tampering, ...] = (
    alter_column,
    alter_column,
    alter_column,
    delete,
    truncate,
    insert,
    swap,
    replace,
    rechain,
    rechain_with_tiles,
    rechain_and_sign,
    alter_tile,
    alter_checkpoint,
    take_values,
    widen_erasure,
    forget_erasure,
    damage,
)


def _move(log: Log, first: int, *, by: int) -> None:
    for index in range(log.head.index, first - 1, -1):
        log.connection.execute('UPDATE entries SET "index" = ? WHERE "index" = ?', (index + by, index))


def _replace(log: Log, index: int, row: Row) -> None:
    log.connection.execute('DELETE FROM entries WHERE "index" = ?', (index,))
    log.insert(row)


def _rechain(log: Log, rng: random.Random, first: int) -> None:
    head = log.before(first)
    for index in range(first, log.head.index + 1):
        row = log.row(index)
        if index == first:
            row = seal(draft(id="forged", **random_fields(rng)), head, rng.randbytes(48))
        row = row._replace(fingerprint=fingerprint(index, head.fingerprint, row.body))
        _replace(log, index, row)
        head = row.head


def _rebuild_tiles(log: Log) -> None:
    log.connection.execute("DELETE FROM tiles")
    _, tiles = NOTHING.appended(_leaves(log))
    log.connection.executemany("INSERT INTO tiles VALUES (?, ?, ?)", tiles)


def _edge(log: Log) -> RightEdge:
    return NOTHING.appended(_leaves(log))[0]


def _leaves(log: Log) -> list[bytes]:
    found = log.connection.execute('SELECT fingerprint FROM entries ORDER BY "index" LIMIT ?', (log.edge.size,))
    return [leaf_hash(fingerprint) for (fingerprint,) in found]
