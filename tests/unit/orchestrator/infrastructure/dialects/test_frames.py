"""Frames: whole events and lines, wherever the stream was cut."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.infrastructure.dialects import frames as module
from orchestrator.infrastructure.dialects.frames import MAX_FRAME_BYTES, EventStream, Frames, JsonLines


def said(frames: Frames, *pieces: bytes) -> list[bytes]:
    """What the frames say that these pieces hold, and its end."""
    found = [frame for piece in pieces for frame in frames.feed(piece)] + frames.rest()
    return [data for _, data in found if data is not None]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[begin:end] for begin, end in itertools.pairwise(ends)]


EVENTS = (
    b"\xef\xbb\xbf: hello|"
    b"data: a|"
    b"event: x|data: b|id: 7|"
    b"data:c|data: d|data|"
    b"retry: 9|"
    b"data:  e: f|:|"
    b"data: \xc3\xbc\xe2\x82\xac\xf0\x9f\x91\x8b|"
)


def stream(end: bytes) -> bytes:
    return EVENTS.replace(b"|", end + end).replace(b"x" + end, b"x").replace(b"b" + end, b"b").replace(b"c" + end, b"c")


SAID = [b"a", b"b", b"c\nd", b" e: f", "ü€👋".encode()]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_events_are_found_wherever_the_stream_is_cut_once(end: bytes) -> None:
    whole = stream(end)

    found = [said(EventStream(), whole[:place], whole[place:]) for place in range(len(whole) + 1)]

    assert all(each == found[0] for each in found)
    assert found[0] == SAID


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_events_that_count_as_long_are_found_too(end: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG", 1)
    whole = stream(end)

    assert said(EventStream(), *[whole[at : at + size] for at in range(0, len(whole), size)]) == SAID


def test_a_long_event_is_not_gone_through_for_each_of_its_lines() -> None:
    frames, began = EventStream(), time.process_time()

    for piece in [b"data: " + b"x" * 900_000 + b"\n", *[b":\n"] * 5000]:
        assert frames.feed(piece) == []
    [(_, data)] = frames.feed(b"\n")

    assert data == b"x" * 900_000
    assert time.process_time() - began < 1.5  # five seconds if it were


@given(st.lists(st.integers(min_value=0), max_size=40), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_found_wherever_the_stream_is_cut(places: list[int], end: bytes) -> None:
    assert said(EventStream(), *cut(stream(end), places)) == SAID


@given(st.lists(st.integers(min_value=0), max_size=40), st.sampled_from([b"\n", b"\r\n"]))
def test_the_bytes_of_all_events_are_the_stream(places: list[int], end: bytes) -> None:
    whole = stream(end)
    frames = EventStream()

    raw = b"".join([raw for piece in cut(whole, places) for raw, _ in frames.feed(piece)])

    told = whole.removeprefix(b"\xef\xbb\xbf")
    assert told.startswith(raw)
    assert told.removeprefix(raw) in (b"", b"\n")  # half of the last CR LF, which the event does not need


def test_lines_of_one_event_are_its_data() -> None:
    assert said(EventStream(), b"data: {\ndata: \ndata: }\n\n") == [b"{\n\n}"]


def test_the_last_event_needs_no_blank_line() -> None:
    assert said(EventStream(), b"data: a\n\ndata: b\n") == [b"a", b"b"]


@pytest.mark.parametrize("block", [b"event: \xff\ndata: {}\n\n", b": \xc3\ndata: {}\n\n"])
def test_what_is_no_utf_8_beside_the_data_is_refused(block: bytes) -> None:
    with pytest.raises(ValueError, match="utf-8"):
        said(EventStream(), block)


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_lines_are_found_wherever_the_stream_is_cut(places: list[int]) -> None:
    whole = b'\xef\xbb\xbf{"a": 1}\n\r\n{"b": "\xc3\xbc"}\r\n{"c": 3}'

    assert said(JsonLines(), *cut(whole, places)) == [b'{"a": 1}', b'{"b": "\xc3\xbc"}', b'{"c": 3}']


@pytest.mark.parametrize("frames", [EventStream, JsonLines])
@pytest.mark.parametrize("piece", [b"x", b"x" * 4096, b"x" * 3 * MAX_FRAME_BYTES])
def test_a_frame_without_end_is_left(frames: type[Frames], piece: bytes) -> None:
    one = frames()
    for _ in range(MAX_FRAME_BYTES // len(piece)):
        one.feed(piece)

    with pytest.raises(UpstreamFailure, match="larger than 1 MiB"):
        one.feed(piece)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_many_events_at_once_may_be_more_than_one_may(end: bytes) -> None:
    event = b"data: " + b"x" * 1000 + end

    assert len(EventStream().feed(event * 2000)) == 2000
