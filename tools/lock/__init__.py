"""What a board is locked with, for ever: option bytes, boot signatures, rows burnt once."""
