"""Which slot was mounted. The only module of the boot stage that stays; set by `start`."""

slot = 0
