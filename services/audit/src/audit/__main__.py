"""`python -m audit` runs one replica."""

from shared.process import run

from audit.main import main

run(main)
