"""`python -m audit` runs one replica."""

from audit.main import main
from shared.process import run

run(main)
