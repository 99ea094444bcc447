"""`python -m audit.prepare` makes the log's database ready, before the service starts."""

import os
import sys

from audit.application.tree import require_origin
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.settings import AuditSettings
from shared.errors import PlatformError
from shared.migrations import migrate
from shared.settings import load


def main() -> None:
    """Brings the schema to its newest revision, and makes the key that signs.

    Only the owner may read these files, from their first byte on. Exits with 1 and one line when the key cannot be used
    or the log has another name.
    """
    settings = load(AuditSettings)
    os.umask(0o077)
    migrate(settings.database_of("audit"), "audit")
    try:
        NoteKeys(settings.key_folder, settings.audit_origin).prepare()
        require_origin(SqliteLogReader(settings.log_file), settings.audit_origin)
    except PlatformError as error:
        sys.exit(error.detail)


if __name__ == "__main__":
    main()
