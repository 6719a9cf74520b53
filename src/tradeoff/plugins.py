"""Files dropped into a folder: a method or a domain is a module that holds one class, found by the module's name."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def names(package: ModuleType) -> list[str]:
    """The package's modules; one that starts with an underscore is a helper of theirs."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(package: ModuleType, name: str, base: type[T]) -> type[T]:
    """The one class of that module which derives from `base`.

    Raises:
        KeyError: there is no such module.
    """
    if name not in names(package):
        raise KeyError(name)
    module = importlib.import_module(f"{package.__name__}.{name}")
    own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
    (cls,) = (c for c in own if issubclass(c, base))
    return cls
