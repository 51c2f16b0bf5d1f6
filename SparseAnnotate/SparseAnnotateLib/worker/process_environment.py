"""What libraries expect of the environment, for accounts without a name or a home folder (clusters, containers)."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

_BELOW_NORMAL = 0x4000  # the priority class of Windows
_NICER = 5


def complete_environment() -> None:
    """Set the variables that MONAI, PyTorch and matplotlib need, for accounts without a name or a home folder."""
    # Loads numpy, so this is imported only after `restart_in_utf8`; otherwise numpy would be loaded twice.
    from ..core.user_name import ensure_user_name

    name = ensure_user_name()
    if not _has_home():
        # A permanent folder for this user, so that caches are found again.
        folder = Path(tempfile.gettempdir()) / f"sparse-annotate-{name}"
        try:
            (folder / "matplotlib").mkdir(parents=True, exist_ok=True)
            os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
        except OSError:
            pass  # matplotlib then uses a temporary folder
        for variable, place in (
            ("TORCH_HOME", "torch"),
            ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
            ("TRITON_HOME", "triton"),
        ):
            os.environ.setdefault(variable, str(folder / place))


def lower_priority() -> None:
    """Let other programs, Slicer's window and the other worker among them, have the CPU first."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_ulong)
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), _BELOW_NORMAL)
    else:
        os.nice(_NICER)


def restart_in_utf8() -> None:
    """Restart the program with file names in UTF-8 if Python was set to another encoding.

    ITK accepts file names in UTF-8 only, and aborts the process at any other.
    """
    if os.name == "nt" or sys.flags.utf8_mode or sys.getfilesystemencoding().lower() == "utf-8":
        return
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _has_home() -> bool:
    home = os.path.expanduser("~")
    return home not in ("~", "", "/") and os.access(home, os.W_OK)
