"""Exports for tests: logs that the service's own code has sealed, and their lines as docs/audit-format.md has them."""

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

import peanut_verify
from audit.domain.canonical import plain
from audit.domain.chain import EMPTY, shown
from audit.domain.entry import Draft, Row, seal
from peanut_verify import LOG_KEY, Report, Since, Trust, parse_checkpoint, parse_key, parse_note
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import Frontier, leaf_hash
from shared.tlog.notes import Cosigner, Signer, note_of
from tests.unit.audit.logs import draft

ORIGIN = "peanut.local/audit"
SIGNER = Signer.generate(ORIGIN)
COSIGNED_AT = 1_795_000_000

DETAILS: tuple[dict[str, Any], ...] = (
    {"status": 200, "promptTokens": 12, "completionTokens": 3, "agent": {"id": "a-1", "name": "Llama"}},
    {"reason": "agent-offline"},
    {},
    {"b": -5, "a": True, "c": None, "Ä": "ö"},
    {"deep": {"er": {"est": [1, "two", {"three": 3}]}}, "list": [[], {}, ""]},
    {"said": 'a "quote", a \\ and \n', "😀": "smile", "ﬀ": "ligature", "float": 0.5, "large": 2**60},
    {"escaped\t": 1, "{": "}", "}": "{", "a:1,": '":1,'},
)
AGENTS = ("curl/8", 'odd "agent" \\', "Mozilla/5.0 (X11; Linux x86_64)", "", "ünï😀")


def varied(chance: random.Random) -> Draft:
    """An entry as services send them, one of many kinds."""
    is_intent = chance.random() < 0.2
    return draft(
        id=f"{chance.getrandbits(128):032x}",
        source=chance.choice(("edge", "auth", "orchestrator")),
        phase="intent" if is_intent else "outcome",
        outcome=None if is_intent else chance.choice(("success", "failure", "denied", "unknown")),
        conclude_by=1_795_000_000_000 + chance.randrange(10**6) if is_intent else None,
        action=chance.choice(("agent.request", "auth.login", "user.created")),
        user_id=chance.choice(("", "user-1", "user-2")),
        resource_id=chance.choice(("", "agent-1", "ä")),
        personal={
            "userEmail": chance.choice(("ann@example.org", "", "bob@example.org")),
            "ipAddress": chance.choice(("192.0.2.7", "2001:db8::1", "")),
            "userAgent": chance.choice(AGENTS),
        },
        details=plain(chance.choices(DETAILS, weights=(8, 4, 2, 1, 1, 1, 1))[0]),
    )


def sealed(drafts: Sequence[Draft], chance: random.Random, before: Sequence[Row] = ()) -> list[Row]:
    """The log of these entries, behind those before."""
    rows = list(before)
    for each in drafts:
        rows.append(seal(each, rows[-1].head if rows else EMPTY, chance.randbytes(48)))
    return rows


def resealed(rows: Sequence[Row], index: int, chance: random.Random, **changed: Any) -> list[Row]:
    """The log with one entry written otherwise, and all from there on hashed anew by the service's own code."""
    drafts = [_draft_of(row) for row in rows[index:]]
    drafts[0] = drafts[0]._replace(**changed)
    return sealed(drafts, chance, rows[:index])


def erasure(erased: Sequence[tuple[int, int]], fields: Sequence[str]) -> Draft:
    """The entry that says which values are gone."""
    details = {"erased": [list(pair) for pair in erased], "fields": list(fields)}
    return _own("audit.personal_erased", details, resource_type="user", resource_id="user-1")


def key_changed(note: str) -> Draft:
    """The entry that hands over to another key."""
    return _own("audit.key_changed", {"note": note})


def without(row: Row, *fields: str) -> Row:
    """The entry with values erased."""
    beside = {name: value for name, value in orjson.loads(row.personal).items() if name not in fields}
    return row._replace(personal=orjson.dumps(beside).decode())


@dataclass(frozen=True)
class Export:
    """The lines of a file, with their ends."""

    lines: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)

    def replaced(self, number: int, line: bytes) -> "Export":
        return self.edited(lambda lines: lines.__setitem__(number, line))

    def edited(self, edit: Any) -> "Export":
        lines = list(self.lines)
        edit(lines)
        return replace(self, lines=tuple(lines))


def export(
    rows: Sequence[Row],
    *,
    start: int = 0,
    origin: str = ORIGIN,
    signer: Signer = SIGNER,
    witnesses: Sequence[Cosigner] = (),
) -> Export:
    """The file with the entries from `start` on."""
    places = zip(rows[start:], (EMPTY, *(row.head for row in rows))[start:], strict=False)
    entries = [entry_line(row, shown(*before)) for row, before in places]
    return Export((header_line(rows[:start], origin), *entries, checkpoint_line(rows, origin, signer, witnesses)))


def header_line(before: Sequence[Row], origin: str = ORIGIN) -> bytes:
    frontier = [hash.hex() for hash in _tree(before).hashes]
    return (
        orjson.dumps({"format": "peanut-audit/v1", "from": len(before), "frontier": frontier, "origin": origin}) + b"\n"
    )


def entry_line(row: Row, previous: str) -> bytes:
    return b'{"body":%b,"fingerprint":"%b","index":%d,"personal":%b,"previousFingerprint":"%b"}\n' % (
        row.body,
        row.fingerprint.hex().encode(),
        row.index,
        row.personal.encode(),
        previous.encode(),
    )


def checkpoint_line(
    rows: Sequence[Row],
    origin: str = ORIGIN,
    signer: Signer = SIGNER,
    witnesses: Sequence[Cosigner] = (),
) -> bytes:
    return orjson.dumps({"checkpoint": checkpoint(rows, origin, signer, witnesses)}) + b"\n"


def checkpoint(
    rows: Sequence[Row],
    origin: str = ORIGIN,
    signer: Signer = SIGNER,
    witnesses: Sequence[Cosigner] = (),
) -> str:
    text = Checkpoint(origin, len(rows), _tree(rows).root).text
    return note_of(text, signer.sign(text), *(witness.cosign(text, COSIGNED_AT) for witness in witnesses))


def trusting(signer: Signer = SIGNER, *, since: str | None = None, **more: Any) -> Trust:
    """Pins the key, and the earlier checkpoint."""
    key = parse_key(signer.verifier.text, LOG_KEY)
    note = None if since is None else parse_note(since)
    return Trust(key, key.name, None if note is None else Since(parse_checkpoint(note.text), note), **more)


def verified(data: bytes | Export, trust: Trust | None = None) -> Report:
    """What the verifier says of a file."""
    given = data.data if isinstance(data, Export) else data
    return peanut_verify.verify_stream(io.BytesIO(given), trust or trusting())


def _tree(rows: Sequence[Row]) -> Frontier:
    return Frontier().appended(leaf_hash(row.fingerprint) for row in rows)


def _own(action: str, details: dict[str, Any], **fields: Any) -> Draft:
    nobody = {"userEmail": "", "ipAddress": "", "userAgent": ""}
    return draft(source="audit", action=action, details=plain(details), personal=nobody, **fields)


def _draft_of(row: Row) -> Draft:
    body, beside = orjson.loads(row.body), orjson.loads(row.personal)
    return Draft(
        source=body["source"],
        id=row.id,
        request_id=row.request_id,
        phase=row.phase,
        action=row.action,
        outcome=row.outcome,
        user_id=row.user_id,
        personal={
            name: beside[name]["value"] if name in beside else "" for name in ("userEmail", "ipAddress", "userAgent")
        },
        resource_type=row.resource_type,
        resource_id=row.resource_id,
        details=body["details"],
        timestamp=row.timestamp,
        conclude_by=body["concludeBy"],
    )
