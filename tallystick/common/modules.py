"""Python files that a person names, and that run with that person's rights."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tallystick.common.errors import BadInputError


def load_module(file: Path, name: str) -> ModuleType:
    """Runs the file, as a module called so. Raises BadInputError when it is not there, or
    fails."""
    spec = importlib.util.spec_from_file_location(name, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise BadInputError(f"There is no {file}.", kept="Nothing was started.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BadInputError(
            f"{file} fails: {type(error).__name__}: {error}.",
            kept="Nothing was started.",
            todo="Mend it, and try again.",
        ) from error
    return module
