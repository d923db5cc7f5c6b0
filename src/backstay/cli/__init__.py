"""Owns the command line: what each command asks of the server, and how the answer looks in a terminal.

Commands that only talk to a running server load nothing but click and the standard library. What is heavy (settings,
the supervisor, the policy, the simulator, SDKs) is imported inside the commands that need it, so that ``backstay
--help`` and every question to the server start in well under 300 ms: the one place where imports stand in functions.
"""

from backstay.cli.main import main

__all__ = ["main"]
