"""Subcommands of `tally station`, one module a subject."""
