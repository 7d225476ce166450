"""The database and what is always written with it: encryption of rows, audit log, rates."""
