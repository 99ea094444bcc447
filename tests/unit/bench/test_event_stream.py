"""Reading chunked responses, however the network cuts them."""

import pytest

from tests.bench.event_stream import Response

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = HEAD + b"a\r\ndata: one\n\r\nC;x=y\r\ndata: two\nda\r\n9\r\nta: three\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", range(1, len(WHOLE) + 1))
def test_lines_are_the_same_in_pieces_of_any_size(size: int) -> None:
    response = Response()

    lines = [response.feed(WHOLE[at : at + size]) for at in range(0, len(WHOLE), size)]

    assert b"".join(lines) == b"data: one\ndata: two\ndata: three"
    assert all(line.endswith(b"\n") for line in lines[:-1] if line and not line.endswith(b"three"))
    assert (response.status, response.is_over) == (b"200", True)


def test_a_response_of_known_length_is_refused() -> None:
    response = Response()

    with pytest.raises(ValueError, match="not chunked"):
        response.feed(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    assert response.status == b"404"
