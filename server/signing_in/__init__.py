"""An attempt to get in, step by step: password, second factor, recovery."""
