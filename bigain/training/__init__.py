"""Train the embedded models, outside of any study."""
