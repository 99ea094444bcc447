import math
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.encoding import MAX_DETAILS_BYTES, encode, encode_details
from shared.bus import read
from shared.contracts.audit import Action, NewEntry, Outcome, Phase
from tests.unit.shared.audit.logs import entry


@given(
    st.builds(
        NewEntry,
        id=st.text(min_size=1, max_size=64),
        request_id=st.text(max_size=256),
        phase=st.sampled_from(Phase),
        action=st.sampled_from(Action),
        outcome=st.none() | st.sampled_from(Outcome),
        user_id=st.text(max_size=256),
        user_email=st.text(max_size=1024),
        ip_address=st.text(max_size=256),
        user_agent=st.text(max_size=1024),
        resource_type=st.text(max_size=256),
        resource_id=st.text(max_size=256),
        details=st.dictionaries(st.text(), st.none() | st.integers(-(2**53), 2**53) | st.text(), max_size=3),
        timestamp=st.integers(0, 10**12).map(lambda ms: datetime.fromtimestamp(ms // 1000, UTC)),
        conclude_by=st.none() | st.integers(0, 2**53 - 1),
    )
)
def test_the_log_reads_what_was_meant(written: NewEntry) -> None:
    assert read(NewEntry, encode(written)) == written


CIRCLE: dict[str, Any] = {}
CIRCLE["self"] = CIRCLE


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"at": datetime(2026, 1, 1, tzinfo=UTC)}, {"at": "2026-01-01T00:00:00+00:00"}),
        ({"what": object}, {"what": "<class 'object'>"}),
        ({1: 2}, {"1": 2}),
        ({"n": math.nan}, {"n": None}),
        ({"n": 2**70}, {"text": "{'n': 1180591620717411303424}"}),
        ({"half": "\ud800"}, {"text": "{'half': '\\ud800'}"}),
        (CIRCLE, {"text": "{'self': {...}}"}),
        ({"x": "y" * MAX_DETAILS_BYTES}, {"omittedBytes": MAX_DETAILS_BYTES + 8}),
    ],
)
def test_details_are_never_a_reason_not_to_be_recorded(details: dict[Any, Any], expected: dict[str, Any]) -> None:
    assert orjson.loads(encode_details(details)) == expected


def test_an_entry_without_a_deadline_does_not_speak_of_one() -> None:
    assert b"concludeBy" not in encode(entry())
    assert orjson.loads(encode(entry(conclude_by=7)))["concludeBy"] == 7
