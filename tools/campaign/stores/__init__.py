"""Stores that others wrote, on flash whose power goes (`tallystick.faults`)."""
