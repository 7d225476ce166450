"""Makes room in RAM: a module that was imported and is not needed now can be loaded again later."""

import gc
import sys


def unload(*names: str) -> None:
    """Forget modules of packages (`lib.hotp`). Whoever runs or holds one keeps it."""
    for name in names:
        if name in sys.modules:
            package, _, module = name.partition(".")
            # A deleted entry keeps its value alive: first None, then gone.
            sys.modules[name] = None  # type: ignore[assignment]  # for a moment
            sys.modules.pop(name)
            setattr(sys.modules[package], module, None)
            delattr(sys.modules[package], module)
    gc.collect()
