"""Whose images this device takes: an Ed25519 public key (RFC 8032), and the x coordinate of its
point.

The build puts the key of its key file here, or the published development key.
"""

PUBLIC_KEY = bytes(32)
X = 0
