"""Cancelling a call: its caller tells all replicas of the service, because it does not know which one works on it.

The caller's name is part of the subject, and the call is named by what follows that name in its reply subject: the
permission to publish there is the permission to cancel own calls, and no message can name those of another user.
"""


def inbox_of(user: str) -> str:
    """What the reply subjects of that user's calls begin with."""
    return f"_INBOX_{user}."


def replies_of(user: str, service: str) -> str:
    """What the reply subjects of that user's calls to that service begin with; the service has a permission for it.

    One for each call, by allow_responses, is forgotten when the server reads its configuration anew.
    """
    return f"{inbox_of(user)}{service}."


def cancel_subject(service: str, caller: str) -> str:
    """Where `caller` cancels its calls to `service`."""
    return f"peanut.cancel.{service}.{caller}"


def cancelled_reply(subject: str, body: bytes) -> str:
    """The reply subject of the call that a message to a `cancel_subject` cancels."""
    return inbox_of(subject.rpartition(".")[2]) + body.decode(errors="replace")
