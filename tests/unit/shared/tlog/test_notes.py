import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.tlog.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    CosignatureVerifier,
    Cosigner,
    KeyRefused,
    NoteRefused,
    Signer,
    Verifier,
    note_of,
    open_note,
    without_others,
)

# Published with golang.org/x/mod/sumdb/note.
PETER_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
BY_PETER = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
BY_ENOCH = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
NOTE = f"{TEXT}\n{BY_PETER}"
peter = Verifier.parse(PETER)
enoch = Verifier.parse(ENOCH)
log = Signer.generate("example.com/log")
witness = Cosigner.generate("example.com/witness")


def test_a_published_note_opens() -> None:
    assert open_note(NOTE, [peter]) == TEXT


def test_the_published_key_signs_the_published_note() -> None:
    signer = Signer.parse(PETER_PRIVATE)

    assert (signer.text, signer.verifier.text) == (PETER_PRIVATE, PETER)
    assert note_of(TEXT, signer.sign(TEXT)) == NOTE


@pytest.mark.parametrize("order", [BY_PETER + BY_ENOCH, BY_ENOCH + BY_PETER])
@pytest.mark.parametrize("known", [[peter], [enoch], [peter, enoch], [peter, peter]])
def test_the_signature_of_one_who_is_known_is_enough(order: str, known: list[Verifier]) -> None:
    assert open_note(f"{TEXT}\n{order}", known) == TEXT


@pytest.mark.parametrize("known", [[], [enoch], [log.verifier]])
def test_a_note_that_nobody_known_has_signed_is_refused(known: list[Verifier]) -> None:
    with pytest.raises(NoteRefused, match="nobody known"):
        open_note(NOTE, known)


def test_a_known_key_with_a_bad_signature_refuses_the_whole_note() -> None:
    forged = log.sign("something else\n")

    for signatures in (forged + BY_PETER, BY_PETER + forged, BY_PETER + log.sign(TEXT) + forged):
        with pytest.raises(NoteRefused, match=r"example\.com/log is not for this text"):
            open_note(f"{TEXT}\n{signatures}", [peter, log.verifier])


def test_the_signatures_of_others_are_taken_away() -> None:
    strange = Signer.generate("stranger").sign("something else\n")

    assert without_others(f"{TEXT}\n{strange}{BY_PETER}{BY_ENOCH}", peter) == NOTE
    assert without_others(f"{NOTE}{BY_ENOCH}", peter, enoch) == f"{NOTE}{BY_ENOCH}"
    with pytest.raises(NoteRefused, match="nobody known"):
        without_others(f"{TEXT}\n{BY_ENOCH}", peter)


def test_a_key_of_the_same_name_or_the_same_hash_is_another_key() -> None:
    namesake = Signer.generate("PeterNeumann")
    same_hash = BY_PETER.replace("PeterNeumann", "PeterOldmann").replace("Z", "Y")

    opened = open_note(f"{TEXT}\n{namesake.sign(TEXT)}{same_hash}{BY_PETER}", [peter])

    assert opened == TEXT


def test_two_keys_of_one_name_and_one_hash_are_not_told_apart() -> None:
    class Colliding(Verifier):
        @property
        def id(self) -> bytes:
            return peter.id

    with pytest.raises(NoteRefused, match="one name and one hash"):
        open_note(NOTE, [peter, Colliding("PeterNeumann", bytes(32))])


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}{BY_PETER}",
        f"{TEXT}\n{BY_PETER}"[:-1],
        f"{TEXT}\n{BY_PETER}\n",
        f"{TEXT}\n\n{BY_PETER}\n",
        f"{TEXT}\n{BY_PETER}unexpected\n",
        f"\x01{TEXT}\n{BY_PETER}",
        f"\t{TEXT}\n{BY_PETER}",
        f"\ud800{TEXT}\n{BY_PETER}",
        f"{TEXT}\r\n{BY_PETER}",
        NOTE.replace("\n", "\r\n"),
        f"{TEXT}\n{BY_PETER.replace('—', '-')}",
        f"{TEXT}\n{BY_PETER.removeprefix('— ')}",
        f"{TEXT}\n{BY_PETER.replace('— ', '—')}",
        f"{TEXT}\n{BY_PETER.replace('=', '')}",
        f"{TEXT}\n{BY_PETER.replace('AM=', 'AN=')}",
        f"{TEXT}\n{BY_PETER.replace('=', '==')}",
        f"{TEXT}\n{BY_PETER.replace('/', '_')}",
        f"{TEXT}\n{BY_PETER.replace('x08', ' x08')}",
        f"{TEXT}\n— Bad+Name x08go/ZJ\n{BY_PETER}",
        f"{TEXT}\n— Bad\u00a0Name x08go/ZJ\n{BY_PETER}",
        f"{TEXT}\n— Bad\u2003Name x08go/ZJ\n{BY_PETER}",
        f"{TEXT}\n—  x08go/ZJ\n{BY_PETER}",
        f"{TEXT}\n— Short x08goA==\n{BY_PETER}",
        f"{TEXT}\n— None\n{BY_PETER}",
    ],
)
def test_what_is_not_a_note_is_refused(note: str) -> None:
    with pytest.raises(NoteRefused):
        open_note(note, [peter])


def test_a_text_may_have_empty_lines() -> None:
    text = "\n\none\n\ntwo\n\n"

    assert open_note(note_of(text, log.sign(text)), [log.verifier]) == text


def test_a_note_is_read_only_up_to_a_size() -> None:
    line = log.sign(TEXT)
    text = "x" * (MAX_NOTE_BYTES - len(line.encode()) - 2) + "\n"

    assert open_note(note_of(text, log.sign(text)), [log.verifier]) == text
    for larger in (f"x{text}", f"—{text[2:]}"):
        with pytest.raises(NoteRefused, match="at most"):
            open_note(note_of(larger, log.sign(larger)), [log.verifier])


def test_a_note_has_only_so_many_signatures() -> None:
    assert open_note(note_of(TEXT, *[BY_PETER] * MAX_SIGNATURES), [peter]) == TEXT

    with pytest.raises(NoteRefused, match="at most"):
        open_note(note_of(TEXT, *[BY_PETER] * (MAX_SIGNATURES + 1)), [peter])


@settings(deadline=None)
@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_nothing_in_a_signed_note_can_be_altered(place: int, other: str) -> None:
    altered = f"{NOTE[:place]}{other}{NOTE[place + 1 :]}"
    if altered == NOTE:
        return

    with pytest.raises(NoteRefused):
        open_note(altered, [peter])


@settings(deadline=None)
@given(st.text())
def test_any_text_is_either_a_note_or_refused(text: str) -> None:
    with pytest.raises(NoteRefused):
        open_note(text, [peter])


@pytest.mark.parametrize("key", [PETER, log.verifier.text], ids=["Peter", "new"])
def test_a_public_key_has_one_text(key: str) -> None:
    assert Verifier.parse(key).text == key
    for at in range(len(key)):
        for other in (key[:at], key[at + 1 :], f"{key[:at]}{chr(ord(key[at]) + 1)}{key[at + 1 :]}"):
            with pytest.raises(KeyRefused):
                Verifier.parse(other)


@pytest.mark.parametrize(
    "key",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.replace("c74f20a3", "C74F20A3"),
        PETER.replace("PeterNeumann", "Peter\u2003Neumann"),
        f"{PETER}\n",
        f" {PETER}",
        f"{PETER}\ud800",
        "",
        "++",
    ],
)
def test_what_is_not_a_public_key_is_refused(key: str) -> None:
    with pytest.raises(KeyRefused):
        Verifier.parse(key)


@pytest.mark.parametrize("key", [PETER_PRIVATE, log.text], ids=["Peter", "new"])
def test_a_private_key_has_one_text(key: str) -> None:
    assert Signer.parse(key).text == key
    for at in range(len(key)):
        for other in (key[:at], key[at + 1 :], f"{key[:at]}{chr(ord(key[at]) + 1)}{key[at + 1 :]}"):
            with pytest.raises(KeyRefused):
                Signer.parse(other)


def test_a_private_key_does_not_show_itself() -> None:
    secret = log.text.split("+", 4)[4]  # base64 may hold a plus itself

    assert secret not in repr(log)
    with pytest.raises(KeyRefused) as refused:
        Signer.parse(f"{log.text[:-4]}AAA=")
    assert secret[:20] not in f"{refused.value!r}{refused.value.__cause__!r}"


def test_a_witness_and_a_log_have_different_keys_even_with_one_name() -> None:
    with pytest.raises(KeyRefused):
        Verifier.parse(witness.verifier.text)
    with pytest.raises(KeyRefused):
        CosignatureVerifier.parse(log.verifier.text)
    with pytest.raises(KeyRefused):
        Signer.parse(witness.text)
    assert CosignatureVerifier.parse(witness.verifier.text) == witness.verifier
    assert Cosigner.parse(witness.text).verifier == witness.verifier
    assert Verifier("one", bytes(32)).id != CosignatureVerifier("one", bytes(32)).id


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_cosignature_is_one_of_a_text_at_a_time(at: int) -> None:
    cosigned = note_of(TEXT, BY_PETER, witness.cosign(TEXT, at))

    assert open_note(cosigned, [witness.verifier]) == TEXT
    assert open_note(cosigned, [peter, witness.verifier]) == TEXT


def test_a_cosignature_is_what_the_specification_says() -> None:
    line = witness.cosign(TEXT, 1_679_315_147)

    raw = base64.b64decode(line.split(" ")[2])
    assert raw[:4] == witness.verifier.id
    assert int.from_bytes(raw[4:12], "big") == 1_679_315_147
    plain = Verifier(witness.name, witness.verifier.key)
    assert plain.has_signed(f"cosignature/v1\ntime 1679315147\n{TEXT}", raw[12:])


def test_the_time_of_a_cosignature_cannot_be_altered() -> None:
    raw = bytearray(base64.b64decode(witness.cosign(TEXT, 1_000).split(" ")[2]))
    for at in range(4, len(raw)):
        raw[at] ^= 1
        line = f"— {witness.name} {base64.b64encode(raw).decode()}\n"
        raw[at] ^= 1

        with pytest.raises(NoteRefused):
            open_note(note_of(TEXT, BY_PETER, line), [peter, witness.verifier])


@pytest.mark.parametrize("length", [5, 8, 12, 13, 75, 77, 200])
def test_a_cosignature_of_another_length_is_refused(length: int) -> None:
    raw = (witness.verifier.id + bytes(200))[:length]
    line = f"— {witness.name} {base64.b64encode(raw).decode()}\n"

    with pytest.raises(NoteRefused):
        open_note(note_of(TEXT, line), [witness.verifier])


def test_a_time_beyond_what_the_specification_allows_is_refused() -> None:
    line = witness.cosign(TEXT, 2**63)

    with pytest.raises(NoteRefused):
        open_note(note_of(TEXT, line), [witness.verifier])


def test_a_witness_signs_nothing_without_a_time() -> None:
    with pytest.raises(TypeError, match="at a time"):
        witness.sign(TEXT)


@pytest.mark.parametrize("text", ["", "no newline", "a\rb\n", "\ud800\n"])
def test_only_the_text_of_a_note_is_signed(text: str) -> None:
    with pytest.raises(ValueError, match="ends in a newline"):
        log.sign(text)
    with pytest.raises(ValueError, match="ends in a newline"):
        witness.cosign(text, 1)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x01b", "\ud800"])
def test_not_everything_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="name without spaces"):
        Signer.generate(name)
    with pytest.raises(ValueError, match="name without spaces"):
        Verifier(name, bytes(32))
