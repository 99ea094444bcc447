import pytest

from shared.tlog.key_changes import key_change, successor
from shared.tlog.notes import NoteRefused, Signer, note_of

old = Signer.generate("peanut.local/audit")
new = Signer.generate("peanut.local/audit")
HEADER = "peanut-audit/key-change/v1\n"


def test_the_old_key_names_the_new_one() -> None:
    note = key_change(old, new.verifier)

    assert note.startswith(f"{HEADER}{old.verifier.text}\n{new.verifier.text}\n\n— ")
    assert successor(note, old.verifier) == new.verifier


def test_nobody_else_can_name_the_new_key() -> None:
    with pytest.raises(NoteRefused):
        successor(key_change(new, new.verifier), old.verifier)


@pytest.mark.parametrize(
    "text",
    [
        f"{old.verifier.text}\n{new.verifier.text}\n",
        f"peanut-audit/key-change/v2\n{old.verifier.text}\n{new.verifier.text}\n",
        f"{HEADER}{new.verifier.text}\n{new.verifier.text}\n",
        f"{HEADER}{old.verifier.text}\n{new.verifier.text[:-1]}\n",
        f"{HEADER}{old.verifier.text}\n{Signer.generate('another').verifier.text}\n",
        f"{HEADER}{old.verifier.text}\n{new.verifier.text}\n\n",
        f"{HEADER}{old.verifier.text}\n{new.verifier.text}\nmore\n",
        "peanut.local/audit\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
    ],
)
def test_nothing_else_that_the_old_key_signs_names_a_key(text: str) -> None:
    with pytest.raises(NoteRefused):
        successor(note_of(text, old.sign(text)), old.verifier)
