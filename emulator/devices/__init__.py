"""Whole devices: a board with its parts, an image in its flash, and hands to use it."""
