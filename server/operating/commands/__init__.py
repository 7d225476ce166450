"""Subcommands of `tally server`, one module a subject."""
