"""scrypt: the standard's vectors, and a bounded number of places that never stall anybody else."""

import asyncio
import threading

import pytest
from auth.application.passwords import TooManyPasswords
from auth.domain.password import PasswordHash, ScryptCost
from auth.infrastructure.scrypt_passwords import MAX_WAITING, WORKERS, open_passwords, scrypt

CHEAP = ScryptCost(n=16, r=1, p=1)


@pytest.mark.parametrize(
    ("password", "salt", "cost", "start", "end"),
    [
        (b"", b"", ScryptCost(16, 1, 1), "77d6576238657b20", "35e20c38d18906"),
        (b"password", b"NaCl", ScryptCost(1024, 8, 16), "fdbabe1c9d347200", "2d90a8c78fe640"),
        (b"pleaseletmein", b"SodiumChloride", ScryptCost(2**14, 8, 1), "7023bdcb3afd7348", "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"[-14:]),
    ],
)
def test_the_vectors_of_rfc_7914_come_out(password: bytes, salt: bytes, cost: ScryptCost, start: str, end: str) -> None:
    derived = scrypt(password, salt, cost).hex()

    assert len(derived) == 128
    assert derived.startswith(start)
