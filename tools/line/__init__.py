"""Boards that leave the desk: a tray of them, a production job, and their locks."""
