"""Starts the edge."""

from shared.process import run

from edge.main import main

run(main)
