"""Reading a response of unknown length off a connection: its head, its chunks (RFC 9112, 7.1), its whole lines."""

_SIZE_LINE_AT_MOST = 1024


class Response:
    """One chunked response, fed with what arrives."""

    def __init__(self) -> None:
        self.status = b""
        """Three digits, empty until the head is there."""
        self.is_over = False
        self._held = b""
        self._left_of_chunk = 0
        self._line = b""

    def feed(self, data: bytes) -> bytes:
        """The whole lines that have arrived by now and were not handed out yet.

        Raises:
            ValueError: that is no chunked response.
        """
        if self._held:
            data, self._held = self._held + data, b""
        if not self.status:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._held = data
                return b""
            self.status = data[9:12]
            if b"\r\ntransfer-encoding: chunked" not in data[:end].lower():
                raise ValueError("the response is not chunked")
            data = data[end + 4 :]
        text = self._line + self._content(data)
        cut = len(text) if self.is_over else text.rfind(b"\n") + 1
        self._line = text[cut:]
        return text[:cut]

    def _content(self, data: bytes) -> bytes:
        parts = []
        at = 0
        while at < len(data):
            if self._left_of_chunk:
                part = data[at : at + self._left_of_chunk]
                self._left_of_chunk -= len(part)
                at += len(part)
                parts.append(part)
                continue
            # The end of the chunk before belongs to the line that says how large the next one is.
            start = at + 2 if data.startswith(b"\r\n", at) else at
            end = data.find(b"\r\n", start)
            if end < 0:
                self._held = data[at:]
                if len(self._held) > _SIZE_LINE_AT_MOST:
                    raise ValueError("no size of a chunk")
                break
            self._left_of_chunk = int(data[start:end].partition(b";")[0], 16)
            at = end + 2
            if not self._left_of_chunk:
                self.is_over = True
                break
        return b"".join(parts)
