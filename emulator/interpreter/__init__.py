"""Real MicroPython, started and spoken to: in a forked process, or inside this one."""
