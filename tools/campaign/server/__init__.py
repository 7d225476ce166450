"""The server under load that looks for an accept too many."""
