"""`python -m orchestrator`: runs the service."""

from orchestrator.main import main
from shared.process import run

run(main)
