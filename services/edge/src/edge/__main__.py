"""Starts the edge."""

from edge.main import main
from shared.process import run

run(main)
