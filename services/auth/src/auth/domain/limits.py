"""The limit on guessing passwords: it delays, and never locks out."""

from datetime import datetime

from shared.limits import Charge, Policy, Record


class GrowingDelay(Policy):
    """`quota` tries without delay, and from then on a longer wait after each one. Nobody is kept out for longer.

    The window begins anew with each try: a slow guesser gets no fresh quota either.
    """

    __slots__ = ()

    def counted(self, record: Record, now: datetime) -> "Charge":
        """See Policy."""
        record = record._replace(began=now, count=record.count + 1)
        if record.count >= self.quota:
            record = record._replace(blocked_until=now + self.block(record.level), level=record.level + 1)
        return Charge(self, record, now, is_refused=False)
