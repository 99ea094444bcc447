"""`python -m auth` runs one replica."""

from auth.main import main
from shared.process import run

run(main)
