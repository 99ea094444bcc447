"""OCSF events (Open Cybersecurity Schema Framework, https://schema.ocsf.io), for what reads those: one a line."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from audit.domain.canonical import canonical
from audit.domain.formats.records import LINE_END, Record
from shared import VERSION

OCSF_VERSION = "1.3.0"
AUTHENTICATION = 3002
ACCOUNT_CHANGE = 3001
USER_ACCESS = 3005
API_ACTIVITY = 6003

OTHER = 99
_NO_SEVERITY, _LOW = 1, 2  # severity_id: informational, low
_UNKNOWN, _SUCCESS, _FAILURE = 0, 1, 2  # status_id


class Meaning(NamedTuple):
    """An action as OCSF has it: the class, the activity of that class, and the activity's name."""

    class_uid: int
    activity_id: int
    activity: str


LOGON = Meaning(AUTHENTICATION, 1, "Logon")
LOGOFF = Meaning(AUTHENTICATION, 2, "Logoff")
ACCOUNT_CREATED = Meaning(ACCOUNT_CHANGE, 1, "Create")
PASSWORD_CHANGED = Meaning(ACCOUNT_CHANGE, 3, "Password Change")
ACCOUNT_DELETED = Meaning(ACCOUNT_CHANGE, 6, "Delete")
ACCOUNT_LOCKED = Meaning(ACCOUNT_CHANGE, 9, "Lock")
FACTOR_ENABLED = Meaning(ACCOUNT_CHANGE, 10, "MFA Factor Enable")
FACTOR_DISABLED = Meaning(ACCOUNT_CHANGE, 11, "MFA Factor Disable")
ACCOUNT_OTHER = Meaning(ACCOUNT_CHANGE, OTHER, "Other")
ACCESS_GIVEN = Meaning(USER_ACCESS, 1, "Assign Privileges")
ACCESS_TAKEN = Meaning(USER_ACCESS, 2, "Revoke Privileges")
CREATED = Meaning(API_ACTIVITY, 1, "Create")
READ = Meaning(API_ACTIVITY, 2, "Read")
UPDATED = Meaning(API_ACTIVITY, 3, "Update")
DELETED = Meaning(API_ACTIVITY, 4, "Delete")
API_OTHER = Meaning(API_ACTIVITY, OTHER, "Other")

MEANINGS: Mapping[str, Meaning] = {
    "auth.login": LOGON,
    "auth.logout": LOGOFF,
    "auth.login_failed": LOGON,
    "auth.totp_required": LOGON,
    "auth.totp_failed": LOGON,
    "auth.password_changed": PASSWORD_CHANGED,
    "auth.totp_set_up": ACCOUNT_OTHER,
    "auth.totp_enabled": FACTOR_ENABLED,
    "auth.totp_disabled": FACTOR_DISABLED,
    "auth.totp_locked": ACCOUNT_LOCKED,
    "auth.backup_codes_renewed": ACCOUNT_OTHER,
    "session.revoked": LOGOFF,
    "user.created": ACCOUNT_CREATED,
    "user.updated": ACCOUNT_OTHER,
    "user.deleted": ACCOUNT_DELETED,
    "user.sessions_ended": LOGOFF,
    "user.totp_reset": FACTOR_DISABLED,
    "key.created": ACCESS_GIVEN,
    "key.revoked": ACCESS_TAKEN,
    "agent.created": CREATED,
    "agent.updated": UPDATED,
    "agent.deleted": DELETED,
    "agent.key_created": CREATED,
    "agent.maintenance_begun": UPDATED,
    "agent.maintenance_ended": UPDATED,
    "agent.request": API_OTHER,
    "conversation.deleted": DELETED,
    "request.refused": API_OTHER,
    "audit.key_changed": UPDATED,
    "audit.personal_erased": DELETED,
    "audit.exported": READ,
}
"""Every action; one that is not here is told as another API activity."""

_CLASSES = {
    AUTHENTICATION: "Authentication",
    ACCOUNT_CHANGE: "Account Change",
    USER_ACCESS: "User Access Management",
    API_ACTIVITY: "API Activity",
}
_CATEGORIES = {3: "Identity & Access Management", 6: "Application Activity"}
_PRODUCT = {"name": "PeanutAgent", "vendor_name": "PeanutAgent", "version": VERSION}


def entry_line(record: Record) -> bytes:
    """The line of an entry."""
    return canonical(event(record)) + LINE_END


def event(record: Record) -> dict[str, Any]:
    """The entry as an event: what its class requires, and in `unmapped` what leads back to the log."""
    body = record.body
    meaning = MEANINGS.get(body["action"], API_OTHER)
    category = meaning.class_uid // 1000
    status_id, status = _status(body)
    actor = _user(body["userId"], record.personal["userEmail"])
    return {
        "class_uid": meaning.class_uid,
        "class_name": _CLASSES[meaning.class_uid],
        "category_uid": category,
        "category_name": _CATEGORIES[category],
        "activity_id": meaning.activity_id,
        "activity_name": meaning.activity,
        "type_uid": meaning.class_uid * 100 + meaning.activity_id,
        "time": _milliseconds(body["timestamp"]),
        "severity_id": _NO_SEVERITY if status_id in (_SUCCESS, OTHER) else _LOW,
        "status_id": status_id,
        "status": status,
        "message": f"{body['action']} {body['phase']}",
        "metadata": {
            "version": OCSF_VERSION,
            "product": _PRODUCT,
            "uid": record.fingerprint,
            "correlation_uid": body["id"],
            "sequence": record.index,
            "log_name": "audit",
            "original_time": body["timestamp"],
        },
        "actor": {"user": actor},
        "src_endpoint": _endpoint(record),
        **_of_class(meaning.class_uid, body, actor),
        **_browser(record.personal["userAgent"]),
        "unmapped": {
            "index": record.index,
            "fingerprint": record.fingerprint,
            "previousFingerprint": record.previous,
            "phase": body["phase"],
            "outcome": body["outcome"],
            "source": body["source"],
            "requestId": body["requestId"],
            "resourceType": body["resourceType"],
            "resourceId": body["resourceId"],
            "details": body["details"],
        },
    }


def _of_class(class_uid: int, body: Mapping[str, Any], actor: dict[str, Any]) -> dict[str, Any]:
    """What only events of this class have."""
    if class_uid == API_ACTIVITY:
        request = {"request": {"uid": body["requestId"]}}
        resource = {"type": body["resourceType"], "uid": body["resourceId"]}
        return {
            "api": {"operation": body["action"], "service": {"name": body["source"]}, **request},
            "resources": [resource] if body["resourceId"] else [],
        }
    user = _user(body["resourceId"], "") if body["resourceType"] == "user" else actor
    if class_uid == AUTHENTICATION:
        return {"user": user, "service": {"name": "PeanutAgent"}}
    if class_uid == USER_ACCESS:
        return {"user": user, "privileges": [f"{body['resourceType']}:{body['resourceId']}"]}
    return {"user": user}


def _user(id: str, email: str) -> dict[str, Any]:
    """Somebody, with at least one of `uid` and `name`, as OCSF wants it."""
    known = {"uid": id, "name": email, "email_addr": email}
    return {name: value for name, value in known.items() if value} or {"name": "unknown"}


def _endpoint(record: Record) -> dict[str, Any]:
    """From where it came; what has no address came from a service of the platform."""
    address = record.personal["ipAddress"]
    return {"ip": address} if address else {"svc_name": record.body["source"]}


def _browser(user_agent: str) -> dict[str, Any]:
    return {"http_request": {"user_agent": user_agent}} if user_agent else {}


def _status(body: Mapping[str, Any]) -> tuple[int, str]:
    match body["outcome"]:
        case None:
            return OTHER, "Intended"
        case "success":
            return _SUCCESS, "Success"
        case "unknown":
            return _UNKNOWN, "Unknown"
        case outcome:
            return _FAILURE, "Denied" if outcome == "denied" else "Failure"


def _milliseconds(timestamp: str) -> int:
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)
