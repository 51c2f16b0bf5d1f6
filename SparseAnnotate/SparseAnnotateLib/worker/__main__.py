"""`python -m SparseAnnotateLib.worker`: the worker process."""

import sys

from ..client.subprocess_transport import IN_BACKGROUND
from .process_environment import lower_priority
from .server import main

if IN_BACKGROUND in sys.argv[1:]:
    lower_priority()
main()
