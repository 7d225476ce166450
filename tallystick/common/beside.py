"""What runs beside whoever asked for it, and pauses: threads, timers, sleep. One place: a
simulation steps all of that itself and starts none of it, and a check of the sources (ruff) sees to
it that station and server take it from nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread, Timer
from time import sleep

__all__ = ["Thread", "ThreadPoolExecutor", "Timer", "sleep"]
