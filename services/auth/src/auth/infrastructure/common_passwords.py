"""The passwords that are tried first, as zxcvbn estimates it: from lists, names, dates, patterns and repetitions."""

import re
from collections.abc import Collection
from pathlib import Path
from threading import Lock

from auth.domain.password import IsCommon
from auth.infrastructure.breached_passwords import BreachedPasswords

MIN_GUESSES = 10**8
"""What withstands guessing at the door for good, where each try counts against a limit."""

CONTEXT = (
    "peanut",
    "agent",
    "peanutagent",
    "openclaw",
    "kilo",
    "admin",
    "administrator",
    "operator",
    "viewer",
    "dashboard",
)
"""Words of the platform, which are tried first here."""

_LONGEST = 72
"""What zxcvbn looks at; a password that is good so far does not become worse."""

_BETWEEN_WORDS = re.compile(r"[\W_]+")

_estimating = Lock()  # zxcvbn keeps the names of the password it looks at in a global


def common_or_breached(breached: Path | None) -> IsCommon:
    """`is_common`, and with a file of breached passwords also whether the password is one of those."""
    if breached is None:
        return is_common
    known = BreachedPasswords(breached)
    return lambda password, names: is_common(password, names) or password in known


def is_common(password: str, names: Collection[str] = ()) -> bool:
    """Whether it is, in whatever case, among the first that a guesser tries who knows these names.

    Takes 4 to 160 ms.
    """
    from zxcvbn import zxcvbn  # noqa: PLC0415 - 15 MB and 50 ms that nobody needs who only logs in

    folded = password.strip().casefold()[:_LONGEST]
    if not folded:  # nothing but spaces, of which zxcvbn can make nothing
        return True
    # zxcvbn takes the blanks between known words for as good as words; who guesses words tries them in between anyway.
    joined = _BETWEEN_WORDS.sub("", folded) or folded
    with _estimating:
        guesses = [zxcvbn(text, user_inputs=[*CONTEXT, *names])["guesses"] for text in {folded, joined}]
    return bool(min(guesses) < MIN_GUESSES)
