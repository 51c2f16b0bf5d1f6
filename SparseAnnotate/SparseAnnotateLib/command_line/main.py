# PYTHON_ARGCOMPLETE_OK
"""`sparse-annotate`: the worker's requests as subcommands, for folders, clusters and scripts."""

from __future__ import annotations

# First, because the imports below take a second, during which Ctrl-C must not end in a traceback.
from .interruption import INTERRUPTION, Interrupted

if INTERRUPTION.is_program("sparse-annotate"):
    INTERRUPTION.install()

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress

_DONE_IN_PARTS = ("accept-image", "add", "create", "draw", "export-dicom", "fill", "import-drawn", "predict")
"""Commands that keep what they have done of one case while they do the next."""

EXIT_OK, EXIT_ERROR, EXIT_CLOSED_PIPE = 0, 1, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit code.

    0: done; 1: an error, reported in a sentence; 2: wrong usage; 130 or 143: cancelled by a signal; 141: the reader of
    the output has closed it. After an error, stdout still has the results that are known; if there are none, and with
    '--json', it has the error.
    """
    from ..worker.process_environment import complete_environment, restart_in_utf8

    if arguments is None:
        restart_in_utf8()
    complete_environment()
    # Streams that the parent process has closed: their output is discarded.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Characters that the terminal cannot show are replaced; '--json' is UTF-8 in any case.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(__package__.partition(".")[0])
    logger.addHandler(handler)
    try:
        with INTERRUPTION:
            return _run(arguments)
    except Interrupted:
        return _cancelled_immediately()
    except ImportError:
        # Some libraries turn an interruption during an import into an ImportError.
        if not INTERRUPTION.number:
            raise
        return _cancelled_immediately()
    finally:
        logger.removeHandler(handler)


def _cancelled_immediately() -> int:
    print("Cancelled immediately. Finished results are kept.", file=sys.stderr)
    return INTERRUPTION.exit_code


def _run(arguments: Sequence[str] | None) -> int:
    from ..core import CancelledError, FileWriteError, SparseAnnotateError
    from ..core.errors import PartlyCancelledError
    from ..core.permissions import forbidden_files_named
    from ..core.registry import require_own_parts
    from .named_outputs import NamedOutputs
    from .parser import parser
    from .progress_output import reported_progress
    from .unused_options import unused_options

    given = sys.argv[1:] if arguments is None else arguments
    try:
        require_own_parts()
    except SparseAnnotateError as error:
        if "--json" in given:
            _write_json({"error": str(error), "type": type(error).__name__})
        _show_error(str(error))
        return EXIT_ERROR
    found = parser()
    _complete(found)
    options, unknown = found.parse_known_args(arguments)
    if unknown:  # with the usage of this command, not of all of them
        options.command_parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if getattr(options, "verbose", False):
        for handler in logging.getLogger(__package__.partition(".")[0]).handlers:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for sentence in unused_options(options, given):
        logging.getLogger(__name__).warning(sentence)
    silent, outputs = options.json or options.quiet, NamedOutputs(options)
    try:
        with nullcontext(None) if silent else reported_progress(with_time=options.verbose) as report:
            INTERRUPTION.begin()
            with forbidden_files_named():
                result = options.function(options, _begun_watch(report))
    except CancelledError as error:
        print(str(error) if isinstance(error, PartlyCancelledError) else _cancelled(options), file=sys.stderr)
        return INTERRUPTION.exit_code
    except SparseAnnotateError as error:
        if getattr(options, "verbose", False):
            traceback.print_exc()
        text = str(error)
        if isinstance(error, FileWriteError):
            text += _other_state_folder(options, text, outputs)
        text = " ".join(filter(None, [text, outputs.unchanged_sentence()]))
        known = getattr(error, "shown", None)
        if options.json:
            _write_json({"error": text, "type": type(error).__name__} if known is None else known)
        elif known is not None:
            _shown(options.show, known)
        _show_error(text)
        return EXIT_ERROR
    if options.json:
        return _write_json(result, indent=2)
    return _shown(options.show, result)


def _cancelled(options) -> str:
    """What is left of a command that was cancelled, and how to go on."""
    if options.command == "train":
        return "Cancelled. The same command resumes training from its last checkpoint, if there is one."
    if options.command not in _DONE_IN_PARTS:
        return "Cancelled."
    if getattr(options, "scans", None) is not None:
        return "Cancelled. Finished results are kept; with '--continue', the same command labels the other scans."
    return "Cancelled. Finished results are kept."


def _complete(found) -> None:
    """Answer a shell that asks for completions, if the package argcomplete is installed."""
    if "_ARGCOMPLETE" in os.environ:
        with suppress(ImportError):
            import argcomplete

            from .completion import add_completers

            add_completers(found)
            argcomplete.autocomplete(found)


def _begun_watch(report):
    """A watch that signals cancel from its first step on; before that there are no results to keep."""
    from ..core import Watch

    class BegunWatch(Watch):
        def check(self) -> None:
            INTERRUPTION.cancel = self.cancel
            if INTERRUPTION.number:
                self.cancel()  # a library has swallowed the exception that the signal raised
            super().check()

    return BegunWatch(report)


def _other_state_folder(options, text: str, outputs) -> str:
    """What to do when the cohort folder itself cannot be written."""
    folder = os.path.abspath(os.path.expanduser(getattr(options, "cohort", "") or os.devnull))
    if getattr(options, "state", "not offered") is not None or folder not in text:
        return ""
    if any(str(path) in text for path in outputs.paths):
        return ""  # of this file the user has said where it goes
    return " Or keep annotations, ledgers, results and runs in another folder, with '--state FOLDER'."


def _show_error(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(text, style="red", markup=False, highlight=False)


def _write_json(result, indent: int | None = None) -> int:
    """Write JSON in UTF-8, regardless of the terminal's encoding; returns the exit code."""
    from ..core.strict_json import to_text

    text = to_text(result, indent=indent) + "\n"

    def show(_):
        if hasattr(sys.stdout, "buffer"):
            sys.stdout.flush()
            # Bytes of file names that could not be decoded are written unchanged.
            sys.stdout.buffer.write(text.encode("utf-8", errors="surrogateescape"))
        else:
            sys.stdout.write(text)

    return _shown(show, None)


def _shown(show, result) -> int:
    """Show a result and flush the output; returns the exit code."""
    try:
        show(result)
        sys.stdout.flush()
        return EXIT_OK
    except (BrokenPipeError, SystemExit):
        # rich exits when the reader of the output has closed it.
        _forget_output()
        return EXIT_CLOSED_PIPE
    except OSError as error:
        _forget_output()
        _show_error(f"The result cannot be written to the output ({error.strerror}).")
        return EXIT_ERROR


def _forget_output() -> None:
    """Keep Python from trying to write the remaining output when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
