"""Images into devices: over a board's own protocol, and over the secure channel in the field."""
