"""Entries as they leave: what was written comes out again, and does nothing else to who reads it."""

import csv
import io
from typing import Any

import orjson
import pytest

from audit.domain.chain import EMPTY
from audit.domain.entry import Row, seal
from audit.domain.formats import csv_lines, jsonl, ocsf
from audit.domain.formats.records import NotAsWritten, Record, record_of
from shared.contracts.audit import Action
from tests.unit.audit.logs import draft

SALTS = bytes(range(48))
FULL_WIDTH = (0xFF1D, 0xFF0B, 0xFF0D, 0xFF20)
HOSTILE = (
    "two\nlines",
    "two\r\nlines",
    'a "quoted" word',
    "comma, semicolon; tab\t",
    "\u2028\u2029",
    "🥜 and \U0001f469\u200d\U0001f4bb",
    "\0 in the middle",
    "</script>",
    "'",
    " ",
)


def row(**fields: Any) -> Row:
    return seal(draft(**fields), EMPTY, SALTS)


def record(**fields: Any) -> Record:
    return record_of(row(**fields), EMPTY)


def read_csv(line: bytes) -> dict[str, str]:
    (values,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    return dict(zip(csv_lines.COLUMNS, values, strict=True))


def event_of(**fields: Any) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(ocsf.entry_line(record(**fields)))
    return event


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_json_holds_the_bytes_that_were_hashed(text: str) -> None:
    written = row(resource_id=text, details={"said": text}, personal=_personal(userEmail=text))

    line = jsonl.entry_line(record_of(written, EMPTY))

    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line == orjson.dumps(orjson.loads(line), option=orjson.OPT_SORT_KEYS) + b"\n"
    assert b'"body":%b,"fingerprint"' % written.body in line
    assert b'"personal":%b,"previousFingerprint":"GENESIS"' % written.personal.encode() in line
    assert orjson.loads(line)["fingerprint"] == written.fingerprint.hex()


def test_the_first_and_the_last_line_of_json() -> None:
    first = jsonl.head_line(3, [b"\1" * 32, b"\2" * 32], "peanut.local/audit")
    last = jsonl.last_line("peanut.local/audit\n3\nroot\n\n— key sig\n")

    assert first == (
        b'{"format":"peanut-audit/v1","from":3,"frontier":["%b","%b"],"origin":"peanut.local/audit"}\n'
        % (b"01" * 32, b"02" * 32)
    )
    assert orjson.loads(last) == {"checkpoint": "peanut.local/audit\n3\nroot\n\n— key sig\n"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_csv_is_read_as_what_was_written(text: str) -> None:
    line = csv_lines.entry_line(record(resource_id=text, details={"said": text}, personal=_personal(userAgent=text)))

    cells = read_csv(line)

    shown = text.replace("\0", "\u2400")
    assert line.endswith(b"\r\n")
    assert b"\0" not in line
    assert (cells["resourceId"], cells["userAgent"]) == (shown, shown)
    assert orjson.loads(cells["details"]) == {"said": text}


@pytest.mark.parametrize("blanks", ["", " ", "\u00a0", "\ufeff", "\u200b", "\0", " \t", "\u3000"])
@pytest.mark.parametrize("sign", [*"=+-@\t\r\n", *map(chr, FULL_WIDTH)])
def test_no_cell_is_a_formula(sign: str, blanks: str) -> None:
    text = f"{blanks}{sign}cmd|' /C calc'!A0"
    if sign in "\t\r\n" and blanks:
        text = f"{sign}{blanks}=1"

    line = csv_lines.entry_line(
        record(resource_id=text, user_id=text, request_id=text, personal=_personal(userEmail=text))
    )

    cells = read_csv(line)
    assert {cells[name] for name in ("resourceId", "userId", "requestId", "userEmail")} == {
        "'" + text.replace("\0", "\u2400")
    }


def test_what_is_no_formula_has_no_apostrophe() -> None:
    cells = read_csv(csv_lines.entry_line(record(resource_id="a=b-c@d", outcome=None, phase="intent")))

    assert (cells["resourceId"], cells["outcome"], cells["index"]) == ("a=b-c@d", "", "0")


def test_the_head_of_csv_names_every_column() -> None:
    assert csv_lines.head_line() == ",".join(csv_lines.COLUMNS).encode() + b"\r\n"


def test_every_action_has_a_meaning_in_ocsf() -> None:
    assert {str(action) for action in Action} <= set(ocsf.MEANINGS)


@pytest.mark.parametrize("action", sorted(ocsf.MEANINGS))
@pytest.mark.parametrize("is_known", [True, False], ids=["somebody", "nobody"])
def test_an_event_has_what_its_class_requires(action: str, is_known: bool) -> None:
    nobody: dict[str, Any] = {"user_id": "", "resource_id": "", "personal": _personal()}
    event = event_of(action=action, **({} if is_known else nobody))

    required = {"class_uid", "category_uid", "activity_id", "type_uid", "time", "severity_id", "metadata", "status_id"}
    of_class = {
        ocsf.AUTHENTICATION: {"user", "service"},
        ocsf.ACCOUNT_CHANGE: {"user"},
        ocsf.USER_ACCESS: {"user", "privileges"},
        ocsf.API_ACTIVITY: {"actor", "api", "src_endpoint"},
    }[event["class_uid"]]
    assert required | of_class <= set(event)
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert event["category_uid"] == event["class_uid"] // 1000
    assert event["time"] == 1795343845123
    assert {"version", "product", "uid"} <= set(event["metadata"])
    people = [event["actor"]["user"], *([event["user"]] if "user" in event else [])]
    assert all({"uid", "name"} & set(user) for user in people)
    assert {"ip", "svc_name"} & set(event["src_endpoint"])


def test_an_event_leads_back_to_its_entry() -> None:
    written = row(action="agent.created", details={"weight": 3}, request_id="r-1")

    event = ocsf.event(record_of(written, EMPTY))

    kept = event["unmapped"]
    assert (event["metadata"]["uid"], event["metadata"]["sequence"]) == (written.fingerprint.hex(), 0)
    assert (kept["index"], kept["fingerprint"], kept["previousFingerprint"]) == (
        0,
        written.fingerprint.hex(),
        "GENESIS",
    )
    assert (kept["details"], kept["requestId"], event["api"]["operation"]) == ({"weight": 3}, "r-1", "agent.created")


@pytest.mark.parametrize(
    ("outcome", "status_id", "severity_id"),
    [(None, 99, 1), ("success", 1, 1), ("failure", 2, 2), ("denied", 2, 2), ("unknown", 0, 2)],
)
def test_outcomes_are_told_as_ocsf_has_them(outcome: str | None, status_id: int, severity_id: int) -> None:
    event = event_of(outcome=outcome)

    assert (event["status_id"], event["severity_id"]) == (status_id, severity_id)


def test_an_action_that_is_not_known_is_told_as_another_activity() -> None:
    event = event_of(action="made.up")

    assert (event["class_uid"], event["activity_id"], event["api"]["operation"]) == (6003, 99, "made.up")


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"fingerprint": bytes(32)},
        {"fingerprint": "text"},
        {"body": b"{}"},
        {"body": None},
        {"personal": "{}x"},
        {"personal": "[]"},
        {"personal": None},
        {"personal": '{"userEmail":{"salt":"00","value":"eve@example.org"}}'},
        {"personal": '{"madeUp":{"salt":"00","value":"x"}}'},
    ],
)
def test_what_is_not_what_was_written_does_not_leave(change: dict[str, Any]) -> None:
    with pytest.raises(NotAsWritten) as refused:
        record_of(row()._replace(**change), EMPTY)

    assert refused.value.index == 0


def test_what_was_erased_is_left_out() -> None:
    line = csv_lines.entry_line(record_of(row()._replace(personal="{}"), EMPTY))

    assert read_csv(line)["userEmail"] == ""


def _personal(**values: str) -> dict[str, str]:
    return {"userEmail": "", "ipAddress": "", "userAgent": "", **values}
