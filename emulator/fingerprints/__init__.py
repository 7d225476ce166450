"""Synthetic fingers, their impressions on the sensor, and the matcher that tells them apart.

`fingerprints.md` says how they are made, how they compare with real prints, and what they are
not fit for.
"""
