"""Benchmarks: a figure beside an aim and a peer. Reported, never pass or fail."""
