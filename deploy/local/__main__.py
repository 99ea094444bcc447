"""`python -m deploy.local <command>`, from the project's root."""

import sys

from deploy.local.commands import main

sys.exit(main())
