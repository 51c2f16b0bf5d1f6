"""A name for the user of this process, where the system knows none: containers and cluster nodes with a bare number.

MONAI and torch ask for the name of the user when they are imported, and fail without one.
"""

from __future__ import annotations

import getpass
import os


def ensure_user_name() -> None:
    """Give this process, and those it starts, a user name by its number when it has none."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = os.environ["LOGNAME"] = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"
