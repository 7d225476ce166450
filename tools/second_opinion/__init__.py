"""What an emulator that is not ours says of the same image."""
