"""A name for the user of this process, where the system knows none: containers and cluster nodes with a bare number.

MONAI and torch ask for the name of the user when they are imported, and fail without one.
"""

from __future__ import annotations

import getpass
import os


def ensure_user_name() -> str:
    """The name of the user; where there is none, this process and those it starts get one from the user's number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"
        os.environ["USER"] = os.environ["LOGNAME"] = name
        return name
