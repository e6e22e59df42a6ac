"""The signals that end a command which holds a server: it drains and stops, as after Ctrl-C."""

import signal


def stop_on_signals() -> None:
    """Raise KeyboardInterrupt in the main thread on SIGINT, SIGTERM and SIGHUP; main thread only.

    Shells start the background jobs of a script with SIGINT ignored: a supervisor that sends it means it, so it counts
    there too. A SIGHUP that is ignored at start stays so: that is what `nohup` is for.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
