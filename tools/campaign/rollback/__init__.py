"""Old copies of flash and sensor, written back in every order: no try is gained, no finger comes
back."""
