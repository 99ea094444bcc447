from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import from_unix_ms, rfc3339, to_unix_ms, unix_ms, utc_now
from shared.ids import is_id, new_id

ID = "0193a3c0-0000-7000-8000-00000000000a"
MOMENTS = st.integers(-30_000_000_000_000, 250_000_000_000_000)  # the years 1019 to 9892


@given(MOMENTS)
def test_milliseconds_survive_every_round_trip(milliseconds: int) -> None:
    moment = from_unix_ms(milliseconds)

    assert to_unix_ms(moment) == milliseconds
    assert datetime.fromisoformat(rfc3339(moment)) == moment


def test_now_has_no_more_than_milliseconds() -> None:
    now = utc_now()

    assert (now.tzinfo, now.microsecond % 1000) == (UTC, 0)
    assert abs(to_unix_ms(now) - unix_ms()) < 1000


@pytest.mark.asvs("16.2.2")
def test_a_moment_is_written_in_utc_and_cut_to_milliseconds() -> None:
    moment = datetime(2026, 11, 22, 12, 37, 25, 123999, timezone(timedelta(hours=2)))

    assert rfc3339(moment) == "2026-11-22T10:37:25.123Z"


def test_ids_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]

    assert ids == sorted(set(ids))
    assert all(is_id(id) and id[14] == "7" for id in ids)


@pytest.mark.parametrize("text", ["", "x", ID.upper(), ID[:-1], f"{ID}\n", f"{{{ID}}}"])
def test_what_is_not_a_canonical_uuid_is_no_id(text: str) -> None:
    assert not is_id(text)
