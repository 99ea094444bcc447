"""What the audit service records of itself, on behalf of whoever asked for it."""

from collections.abc import Mapping
from typing import Any

from audit.domain.entry import Draft
from audit.domain.erasure import SOURCE
from shared.bus import CallContext
from shared.clock import rfc3339_now
from shared.contracts.audit import Action, Outcome, Phase


def own_entry(
    context: CallContext,
    action: Action,
    outcome: Outcome | None,
    *,
    resource_type: str,
    resource_id: str,
    details: Mapping[str, Any],
    id: str = "",
) -> Draft:
    """An outcome, or without one the intent. `details` are in canonical order; `id` is that of the call if empty."""
    caller, origin = context.principal, context.caller.origin
    return Draft(
        source=SOURCE,
        id=id or context.event_id,
        request_id=context.request_id,
        phase=Phase.OUTCOME if outcome else Phase.INTENT,
        action=action,
        outcome=outcome,
        user_id=caller.user_id,
        personal={"userEmail": caller.email, "ipAddress": origin.ip_address, "userAgent": origin.user_agent},
        resource_type=resource_type,
        resource_id=resource_id,
        details=details,
        timestamp=rfc3339_now(),
        conclude_by=None if outcome else context.deadline,
    )
