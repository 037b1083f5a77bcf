"""`python -m asl_nb` is the command `asl-nb`."""
from asl_nb.cli import app

app(prog_name="asl-nb")
