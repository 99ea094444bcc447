"""`python -m witness` runs it."""

from shared.process import run
from witness.main import main

run(main)
