"""`python -m witness.prepare` makes the witness's directory and its key, before it starts."""

import sys

from shared.errors import PlatformError
from shared.settings import load
from witness.infrastructure import WitnessDirectory
from witness.settings import WitnessSettings


def main() -> None:
    """What is there stays as it is. Exits with 1 and one line when the key cannot be used."""
    settings = load(WitnessSettings)
    try:
        WitnessDirectory(settings.directory).prepare(settings.witness_name)
    except PlatformError as error:
        sys.exit(error.detail)
    except OSError as error:
        sys.exit(f"{error.filename} cannot be made: {error.strerror}")


if __name__ == "__main__":
    main()
