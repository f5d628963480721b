"""`tlui`, and `python -m tlui`: Ctrl-C is heard before anything else is imported."""

import sys


def main() -> None:
    """Entry point of the command line; see `tlui.cli.main`."""
    try:
        from tlui.cli.main import main as run

        run()
    except KeyboardInterrupt:
        print("tlui: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
