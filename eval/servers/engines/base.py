"""What every engine has: the contract, and where servers of ours listen."""

from __future__ import annotations

from typing import Any, Protocol

from ...cli.options import Options

HOST = "127.0.0.1"  # where servers of ours listen
Config = dict[str, Any]


class Engine(Protocol):
    """Starts one engine; ``config`` is an arm's speculative configuration, None without one."""

    example: str
    """A configuration as a user writes it, for messages."""
    known: dict[str, Config]
    """Methods of the engine's own, by the name that ``--arms`` gives them."""
    model_key: str
    """Where a configuration names the draft's model."""
    export: tuple[str, ...]
    """Flags that make the server write a line per request; the folder follows. Empty: cannot."""

    def check(self, name: str, config: Config) -> None:
        """Raise ``UserError`` on a configuration of another engine."""

    def command(self, options: Options, config: Config | None, port: int) -> list[str]:
        """The server's command line."""

    def variables(self, config: Config | None) -> dict[str, str]:
        """Environment variables that carry parts of the configuration."""

    def defaults(self, options: Options) -> dict[str, str]:
        """Environment variables for those that have no value yet."""
