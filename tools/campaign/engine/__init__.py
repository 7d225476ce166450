"""Enumeration of faults: states, workers, sites, and the way back to a single one."""
