"""`python -m SparseAnnotateLib.command_line`, which torchrun uses."""

from .interruption import INTERRUPTION

INTERRUPTION.install()

from .main import main  # noqa: E402

raise SystemExit(main())
