"""The `bigain` command; a command imports a wing only when it runs."""
