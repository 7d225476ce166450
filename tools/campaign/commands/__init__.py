"""Subcommands of `tally campaign` that cut the power."""
