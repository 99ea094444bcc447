"""How a service records what it does: intents before, outcomes after, and nothing lost in between."""

from shared.audit.appender import AuditUnavailable
from shared.audit.trail import AuditTrail, Change, Resource, open_trail

__all__ = ["AuditTrail", "AuditUnavailable", "Change", "Resource", "open_trail"]
