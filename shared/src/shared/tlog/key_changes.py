"""A log's change of its key: a note that names the new one and that the old one has signed."""

from shared.tlog.notes import KeyRefused, NoteRefused, Signer, Verifier, note_of, open_note

_HEADER = "peanut-audit/key-change/v1"


def key_change(old: Signer, new: Verifier) -> str:
    """The note that hands over from one key to the next."""
    text = f"{_HEADER}\n{old.verifier.text}\n{new.text}\n"
    return note_of(text, old.sign(text))


def successor(note: str, log: Verifier) -> Verifier:
    """The key that this log's key hands over to; raises NoteRefused."""
    try:
        header, old, new, end = open_note(note, [log]).split("\n")
        verifier = Verifier.parse(new)
    except (ValueError, KeyRefused) as error:
        raise NoteRefused("this note does not change a key") from error
    if header != _HEADER or old != log.text or verifier.name != log.name or end:
        raise NoteRefused("this note does not change this log's key")
    return verifier
