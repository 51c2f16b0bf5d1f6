"""What libraries expect of the process's environment, where an account of a cluster or a container has none."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path


def complete_environment() -> None:
    """Give accounts without a name, or without a home folder, what MONAI, PyTorch and matplotlib ask for."""
    try:
        getpass.getuser()
        name = None
    except (KeyError, OSError, ImportError):
        name = f"user{os.getuid()}" if hasattr(os, "getuid") else "user"
        os.environ["LOGNAME"] = name
    if not _has_home():
        # A folder of one's own that stays, so that caches are found again.
        folder = Path(tempfile.gettempdir()) / f"sparse-annotate-{name or getpass.getuser()}"
        for variable, place in (
            ("MPLCONFIGDIR", "matplotlib"),
            ("TORCH_HOME", "torch"),
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
            ("TRITON_HOME", "triton"),
        ):
            os.environ.setdefault(variable, str(folder / place))
        try:
            (folder / "matplotlib").mkdir(parents=True, exist_ok=True)
        except OSError:
            os.environ.pop("MPLCONFIGDIR")


def restart_in_utf8() -> None:
    """Start the program again with names of files in UTF-8 where Python was told otherwise.

    ITK takes names in UTF-8 only, and aborts the process at others.
    """
    if os.name == "nt" or sys.flags.utf8_mode or sys.getfilesystemencoding().lower() == "utf-8":
        return
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _has_home() -> bool:
    home = os.path.expanduser("~")
    return home not in ("~", "", "/") and os.access(home, os.W_OK)
