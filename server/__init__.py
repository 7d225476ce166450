"""The verification server: who holds which card, and whether a code is right, once."""
