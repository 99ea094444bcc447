"""`python -m orchestrator`: runs the service."""

from shared.process import run

from orchestrator.main import main

run(main)
