"""Pages of a list: an opaque cursor that nobody can make up."""

import base64
import hashlib
import hmac

from shared.errors import FieldError, InvalidFields

_TAG_BYTES = 16


class Cursors:
    """Makes and reads cursors of one list. `key` is the owner's secret; `list_name` keeps lists apart."""

    def __init__(self, key: bytes, list_name: str) -> None:
        self._key = hmac.digest(key, b"peanut-cursor/v1:" + list_name.encode(), hashlib.sha256)

    def after(self, position: str) -> str:
        """The cursor of the page that begins after `position`."""
        text = position.encode()
        return base64.urlsafe_b64encode(self._tag(text) + text).decode().rstrip("=")

    def position(self, cursor: str) -> str:
        """The position in a cursor that `after` has made; raises InvalidFields for any other text."""
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            tag, text = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
            if hmac.compare_digest(tag, self._tag(text)):
                return text.decode()
        except ValueError:
            pass
        raise InvalidFields("The cursor is not one of ours.", errors=(FieldError("cursor", "take it from nextCursor"),))

    def _tag(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, hashlib.sha256)[:_TAG_BYTES]
