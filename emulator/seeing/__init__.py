"""What a display shows, as pixels, text and pictures."""
