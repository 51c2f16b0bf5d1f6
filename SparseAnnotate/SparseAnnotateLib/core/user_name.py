"""A name for the user of this process when the system has none, as in containers that only know a user number.

MONAI and torch ask for the name of the user when they are imported, and fail without one.
"""

from __future__ import annotations

import getpass
import os


def ensure_user_name() -> str:
    """The name of the user; if there is none, one is set from the user number, also for child processes."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"
        os.environ["USER"] = os.environ["LOGNAME"] = name
        return name
