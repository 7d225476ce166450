"""What the boot stage saw and did: the only module of it that stays. Set by `start`."""

slot = 0  # that was mounted
button = 1  # at the first look, some 15 to 45 ms after the reset
