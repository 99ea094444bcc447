"""`python -m audit.prepare` makes the log's database ready, before the service starts."""

import os

from audit.settings import AuditSettings
from shared.migrations import migrate
from shared.settings import load


def main() -> None:
    """Brings the schema to its newest revision. Only the owner may read the file, from its first byte on."""
    settings = load(AuditSettings)
    os.umask(0o077)
    migrate(settings.database_of("audit"), "audit")


if __name__ == "__main__":
    main()
