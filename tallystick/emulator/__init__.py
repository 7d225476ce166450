"""The emulator: the hardware that firmware talks to. It knows firmware only as an image file."""
