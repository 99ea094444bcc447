"""Sealed secrets: AES-256-GCM, so that whoever reads the database has no agent's credential."""

import base64
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_FORM = "v2"
_NONCE_BYTES = 12  # NIST SP 800-38D; fresh and random for each sealing


class SealBroken(Exception):
    """A sealed secret that this key did not seal, or not for this agent at this origin."""


class SealedSecrets:
    """Seals and opens agents' API keys.

    A sealed one is `v2|kid|nonce|ciphertext`. It is bound to service, agent, field and the origin (scheme, host and
    port) it was given for, so that it opens nowhere else: whatever the database says, no other server is sent it.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._kid = hashlib.sha256(b"peanut-key-id/v1:" + key).hexdigest()[:8]

    def seal(self, agent_id: str, origin: str, key: str) -> str:
        """The agent's API key, encrypted."""
        nonce = os.urandom(_NONCE_BYTES)
        ciphertext = self._cipher.encrypt(nonce, key.encode(), _bound_to(agent_id, origin))
        return "|".join((_FORM, self._kid, _text(nonce), _text(ciphertext)))

    def open(self, agent_id: str, origin: str, sealed: str) -> str:
        """The reverse of `seal`; raises SealBroken."""
        try:
            form, _, nonce, ciphertext = sealed.split("|")
            if form != _FORM:
                raise SealBroken(form)
            return self._cipher.decrypt(_bytes(nonce), _bytes(ciphertext), _bound_to(agent_id, origin)).decode()
        except (ValueError, InvalidTag) as error:
            raise SealBroken("not sealed by this key for this agent at this origin") from error


def _bound_to(agent_id: str, origin: str) -> bytes:
    return f"orchestrator|{agent_id}|apiKey|{origin}".encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
