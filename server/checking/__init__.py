"""A code against what is stored: which of a person's tokens it fits, and that it counts once."""
