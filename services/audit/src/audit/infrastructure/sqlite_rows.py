"""The columns of an entry in SQLite."""

from collections.abc import Sequence
from typing import Any

from audit.domain.entry import Row

COLUMNS = (
    '"index", fingerprint, body, personal, id, phase, request_id, action, outcome, user_id, '
    "resource_type, resource_id, timestamp"
)


def to_row(values: Sequence[Any]) -> Row:
    """The row of a SELECT of COLUMNS."""
    return Row._make(values)
