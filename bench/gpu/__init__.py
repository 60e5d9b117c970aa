"""All that a GPU has to answer, in one command: `python -m bench.gpu OUTPUT --minutes 8`."""
