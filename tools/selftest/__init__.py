"""A device tests what is soldered to it, and a page says so."""
