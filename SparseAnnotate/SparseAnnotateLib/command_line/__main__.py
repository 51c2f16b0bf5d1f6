"""`python -m SparseAnnotateLib.command_line`, as torchrun starts it."""

from .interruption import INTERRUPTION

INTERRUPTION.install()

from .main import main  # noqa: E402

raise SystemExit(main())
