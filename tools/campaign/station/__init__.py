"""Station, card and server killed while they provision."""
