"""Where the command line was until version 0.1: job scripts that start it under this name go on working."""

import runpy

if __name__ == "__main__":
    runpy.run_module("SparseAnnotateLib.command_line", run_name="__main__", alter_sys=True)
