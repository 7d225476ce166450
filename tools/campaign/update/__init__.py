"""Power cuts during an update in the field."""
