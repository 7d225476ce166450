"""Services that log people in here: OpenID Connect and RADIUS."""
