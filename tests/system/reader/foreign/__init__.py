"""Suites that are not ours, run against the emulated reader."""
