"""What libraries expect of the process's environment, where an account of a cluster or a container has none."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def complete_environment() -> None:
    """Give accounts without a name, or without a home folder, what MONAI, PyTorch and matplotlib ask for."""
    # Loads numpy: only after `restart_in_utf8`, which would have it loaded twice.
    from ..core.user_name import ensure_user_name

    name = ensure_user_name()
    if not _has_home():
        # A folder of one's own that stays, so that caches are found again.
        folder = Path(tempfile.gettempdir()) / f"sparse-annotate-{name}"
        try:
            (folder / "matplotlib").mkdir(parents=True, exist_ok=True)
            os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
        except OSError:
            pass  # matplotlib then makes a folder for this process alone
        for variable, place in (
            ("TORCH_HOME", "torch"),
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
            ("TRITON_HOME", "triton"),
        ):
            os.environ.setdefault(variable, str(folder / place))


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
