"""What a run would do, where results come from, what is stored: clipsteer COMMAND."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from clipsteer.cli import export, import_clip, look, plan, report, steer, store, sweep, why
from clipsteer.errors import ClipsteerError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. A user's fault is one line on stderr, and status 1.

    `clipsteer` (pyproject.toml) and `python -m clipsteer` both call this.
    """
    as_script = os.path.basename(sys.argv[0]).startswith("clipsteer")
    prog = "clipsteer" if as_script else "python -m clipsteer"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (plan, sweep, why, store, export, import_clip, look, steer, report):
        module.add(commands)
    arguments = parser.parse_args(argv)
    try:
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except ClipsteerError as error:
        print(f"clipsteer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`, say) has seen enough; nothing more may go there, at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
