"""Mutants: every small mistake in firmware and guards, and whether anything notices it."""
