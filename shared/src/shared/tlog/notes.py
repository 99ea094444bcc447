"""Signed notes (C2SP signed-note) and the cosignatures of witnesses (C2SP tlog-cosignature), with Ed25519."""

import base64
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE_BYTES = 131_072
"""Room for the 16 signatures that everybody must take, each of the largest kind there is (5 kB)."""
MAX_SIGNATURES = 100
"""As Go's sumdb/note."""

_PRIVATE = "PRIVATE+KEY+"
_DASH = "— "
_KEY_BYTES = 32
_ID_BYTES = 4
_TIME = struct.Struct(">Q")
_MAX_TIME = 2**63 - 1


class KeyRefused(Exception):
    """A text that is not a key of the kind that is wanted."""


class NoteRefused(Exception):
    """A note that is not well-formed, or that nobody known has signed, or one whose text is not what it should be."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key and the name of who signs with it."""

    name: str
    key: bytes

    kind: ClassVar[int] = 0x01

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.key) != _KEY_BYTES:
            raise ValueError("a key has a name without spaces and plus signs, and 32 bytes")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a vkey, `name+hash+base64`; raises KeyRefused."""
        verifier = cls(*_name_and_key(text, cls.kind))
        if verifier.text != text:
            raise KeyRefused("a key whose hash is not its own, or that is not written as keys are")
        return verifier

    @property
    def text(self) -> str:
        """The vkey."""
        return f"{self.name}+{self.id.hex()}+{_base64(bytes([self.kind]) + self.key)}"

    @property
    def id(self) -> bytes:
        """Four bytes that, beside the name, say which key signed. Anybody can make a key that has the same."""
        return sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.key)).digest()[:_ID_BYTES]

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether this key made the signature over the text of a note."""
        return self._made(signature, text.encode())

    def _made(self, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class CosignatureVerifier(Verifier):
    """A witness's public key: its signatures say until when it saw nothing larger of that log, or nothing else."""

    kind: ClassVar[int] = 0x04

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether this witness made the cosignature of a checkpoint's text."""
        if len(signature) <= _TIME.size:
            return False
        (time,) = _TIME.unpack(signature[: _TIME.size])
        return time <= _MAX_TIME and self._made(signature[_TIME.size :], _cosigned(text, time))


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the name of who signs with it."""

    name: str
    _private: Ed25519PrivateKey

    verifier_type: ClassVar[type[Verifier]] = Verifier

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise ValueError("a key has a name without spaces and plus signs")

    @classmethod
    def generate(cls, name: str) -> Self:
        """A new key."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `PRIVATE+KEY+name+hash+base64`; raises KeyRefused, which does not repeat any of it."""
        if not text.startswith(_PRIVATE):
            raise KeyRefused("not a private key")
        name, seed = _name_and_key(text.removeprefix(_PRIVATE), cls.verifier_type.kind)
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if signer.text != text:
            raise KeyRefused("a key whose hash is not its own, or that is not written as keys are")
        return signer

    @property
    def text(self) -> str:
        """The private key, for a file that nobody else can read."""
        seed = _base64(bytes([self.verifier_type.kind]) + self._private.private_bytes_raw())
        return f"{_PRIVATE}{self.name}+{self.verifier.id.hex()}+{seed}"

    @property
    def verifier(self) -> Verifier:
        """The public key."""
        return self.verifier_type(self.name, self._private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signature line for a text that ends in a newline."""
        return self._line(self._private.sign(_signable(text)))

    def _line(self, signature: bytes) -> str:
        return f"{_DASH}{self.name} {_base64(self.verifier.id + signature)}\n"


@dataclass(frozen=True, slots=True)
class Cosigner(Signer):
    """A witness's private key."""

    verifier_type: ClassVar[type[Verifier]] = CosignatureVerifier

    def sign(self, text: str) -> str:
        """Refused: a cosignature says when."""
        raise TypeError("a witness cosigns at a time")

    def cosign(self, text: str, at: int) -> str:
        """The cosignature line for a checkpoint's text; `at` in Unix seconds."""
        _signable(text)
        return self._line(_TIME.pack(at) + self._private.sign(_cosigned(text, at)))


def note_of(text: str, *signature_lines: str) -> str:
    """A signed note. Another signature line may simply be appended to it."""
    return "\n".join((text, "".join(signature_lines)))


def open_note(note: str, verifiers: Iterable[Verifier]) -> str:
    """The text of a note that at least one of the verifiers signed, its last newline included.

    Signatures by others are passed over. Raises NoteRefused, also when one of them only seems to have signed it.
    """
    return _opened(note, verifiers)[0]


def without_others(note: str, *verifiers: Verifier) -> str:
    """The note with the signatures of these verifiers only; raises NoteRefused as `open_note` does."""
    text, lines = _opened(note, verifiers)
    return note_of(text, *lines)


def is_key_name(text: str) -> bool:
    """Whether a key may be named so."""
    return text != "" and "+" not in text and not any(c < " " or c.isspace() for c in text) and _is_utf8(text)


def strict_base64(text: str) -> bytes:
    """The bytes of a text that is their one base64 form (RFC 4648, 4); raises ValueError."""
    raw = base64.b64decode(text, validate=True)
    if _base64(raw) != text:
        raise ValueError("another form of base64")
    return raw


def _opened(note: str, verifiers: Iterable[Verifier]) -> tuple[str, list[str]]:
    """The text, and the signature lines by these verifiers."""
    known = _by_name(verifiers)
    text, signatures = _parts(note)
    verified: list[str] = []
    for line, name, id, signature in signatures:
        verifier = known.get((name, id))
        if verifier is None:
            continue
        if not verifier.has_signed(text, signature):
            raise NoteRefused(f"the signature of {verifier.name} is not for this text")
        verified.append(f"{line}\n")
    if not verified:
        raise NoteRefused("nobody known has signed this note")
    return text, verified


def _parts(note: str) -> tuple[str, list[tuple[str, str, bytes, bytes]]]:
    """The text, and each signature line with its name, key id and signature."""
    if not _is_utf8(note) or len(note.encode()) > MAX_NOTE_BYTES:
        raise NoteRefused(f"a note has at most {MAX_NOTE_BYTES} bytes of UTF-8")
    if any(c < " " and c != "\n" for c in note):
        raise NoteRefused("a note has no control characters")
    body, separator, block = note.rpartition("\n\n")
    *lines, rest = block.split("\n")
    if not separator or not lines or rest:
        raise NoteRefused("a note is a text, an empty line and lines of signatures")
    if len(lines) > MAX_SIGNATURES:
        raise NoteRefused(f"a note has at most {MAX_SIGNATURES} signatures")
    return f"{body}\n", list(_signatures(lines))


def _signatures(lines: list[str]) -> Iterator[tuple[str, str, bytes, bytes]]:
    for line in lines:
        try:
            name, encoded = line.removeprefix(_DASH).split(" ")
            signature = strict_base64(encoded)
        except ValueError as error:
            raise NoteRefused("a line that is not a signature") from error
        if not line.startswith(_DASH) or not is_key_name(name) or len(signature) <= _ID_BYTES:
            raise NoteRefused("a line that is not a signature")
        yield line, name, signature[:_ID_BYTES], signature[_ID_BYTES:]


def _by_name(verifiers: Iterable[Verifier]) -> dict[tuple[str, bytes], Verifier]:
    known: dict[tuple[str, bytes], Verifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.id), verifier) != verifier:
            raise NoteRefused("two of the keys have one name and one hash")
    return known


def _name_and_key(text: str, kind: int) -> tuple[str, bytes]:
    """Of `name+hash+base64`; the hash is for the caller to compare."""
    try:
        name, _, encoded = text.split("+", 2)
        raw = strict_base64(encoded)
    except ValueError:
        raise KeyRefused("not a key") from None  # its text may be a secret
    if not is_key_name(name) or len(raw) != 1 + _KEY_BYTES or raw[0] != kind:
        raise KeyRefused("not a key of this kind")
    return name, raw[1:]


def _signable(text: str) -> bytes:
    if not text.endswith("\n") or not _is_utf8(text) or any(c < " " and c != "\n" for c in text):
        raise ValueError("a text ends in a newline and has no other control characters")
    return text.encode()


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _is_utf8(text: str) -> bool:
    """False for half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
