"""Whose images the card takes. The build puts the key of its key file here.

This is the published development key: anyone can sign with it (tallystick/tools/image/keys.py).
"""

PUBLIC_KEY = b""
