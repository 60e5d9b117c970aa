"""Turn a config into cells, specs and jobs, and check, carry and verify their results. No torch."""
