"""`python -m SparseAnnotateLib.remote relay HOST`: the relay to a host."""

import sys

from .relay import main

sys.exit(main())
