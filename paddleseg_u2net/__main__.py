"""`python -m paddleseg_u2net` is the command `u2net`; imports nothing before Ctrl-C is handled."""

import sys


def main(command: str = "") -> int:
    """Run the command of this process's arguments; for scripts that end afterwards.

    Args:
        command: name of the subcommand; empty where the first argument names it.

    Returns:
        The exit code.
    """
    import signal

    try:
        from paddleseg_u2net.cli.app import main

        return main([command, *sys.argv[1:]] if command else sys.argv[1:])
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler prints a traceback while it ends


if __name__ == "__main__":
    sys.exit(main())
