"""The module name of the command line until version 0.1; job scripts that use this name keep working."""

import runpy

if __name__ == "__main__":
    runpy.run_module("SparseAnnotateLib.command_line", run_name="__main__", alter_sys=True)
