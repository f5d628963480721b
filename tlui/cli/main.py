"""The command line: one table of commands, one place where errors become exit codes.

A command's module is imported when the command is called, not before, so `tlui --help` and
`tlui ls` start fast. Exit codes: 0 done, 1 failed, 2 bad usage or preset, 3 diverged, 130 stopped.
"""

from __future__ import annotations

import os
import sys

from tlui.errors import TluiError, refusal

STOPPED = 130


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `tlui`: runs a command and exits with its code; never shows a traceback.

    All is written and closed by then; taking the interpreter apart would cost a tenth of a second.
    """
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        code = complain("stopped", STOPPED)
    _unwritten()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    from tlui.cli import interrupt
    from tlui.runs.charset import restrain

    restrain()
    with interrupt.remembered():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    from tlui.cli import interrupt

    try:
        if not arguments:
            from tlui.cli.opening import open_app

            return open_app()
        from tlui.cli.commands import app

        result = app(args=arguments, prog_name="tlui", standalone_mode=False)
        print(end="", flush=True)
    except TluiError as error:
        return complain(str(error), error.code)
    except KeyboardInterrupt:
        return complain("stopped", STOPPED)
    except BrokenPipeError:
        # the reader of our output (head, less) is gone: nothing to say, nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if interrupt.presses():
            return complain("stopped", STOPPED)
        if said := refusal(error) or _unwritten():
            return complain(said, 1)
        return _usage(error) or _crash(error)
    return result if isinstance(result, int) else 0


def complain(message: str, code: int) -> int:
    """Say what is wrong on stderr, in plain text whatever it holds, and pass the code on."""
    from tlui.runs.text import printable

    for line in message.split("\n"):
        print(f"tlui: {printable(line)}", file=sys.stderr)
    return code


def _unwritten() -> str:
    """Write out what is printed; why that cannot be done, empty where it was."""
    try:
        print(end="", flush=True)
    except (OSError, ValueError) as error:
        return f"the output cannot be written: {getattr(error, 'strerror', error)}"
    return ""


def _usage(error: Exception) -> int:
    """The exit code of an error in the command line itself, said; 0 where it is another error."""
    from typer import Abort, Exit

    if isinstance(error, Abort):
        return complain("stopped", STOPPED)
    if isinstance(error, Exit):
        return int(error.exit_code)
    show = getattr(error, "format_message", None)
    if show is None:
        return 0
    if type(error).__name__ == "NoArgsIsHelpError":
        print(show(), file=sys.stderr)
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tlui"
    return complain(f"{show()}\ntry: {path} --help", 2)


def _crash(error: Exception) -> int:
    """Keep the traceback of a bug in a file and say where it is."""
    import time
    import traceback
    from pathlib import Path

    text = "".join(traceback.format_exception(error))
    name = f"tlui-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    folder = Path(os.environ.get("TLUI_HOME") or Path.home())
    for place in (folder, Path("/tmp")):
        path = place / name
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            continue
        return complain(
            f"this is a bug in tlui ({type(error).__name__}: {error}); runs go on and nothing is "
            f"lost. Please report it with {path}",
            1,
        )
    return complain(f"this is a bug in tlui ({type(error).__name__}: {error})", 1)


if __name__ == "__main__":
    main()
