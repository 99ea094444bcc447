"""`python -m auth` runs one replica."""

from shared.process import run

from auth.main import main

run(main)
