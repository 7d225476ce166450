"""People come, change and leave: one by one, many at once, or as a directory says."""
