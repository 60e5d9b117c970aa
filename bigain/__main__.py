"""`python -m bigain`."""

from bigain.cli import app

app()
