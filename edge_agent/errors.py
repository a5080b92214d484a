"""What can go wrong on a board, sorted by who has to act. Codes are stable: docs/agent.md lists them.

AgentError
├── ConfigError      the person who wrote the configuration
├── UnreachableError the person at the board: its agent does not answer
├── RequestError     the client that asked: a bad picture, a full queue
├── ModelError       the Edge TPU, the interpreter or the model file
└── UpdateError      the publisher of a release; the running model stays
    ├── TrustError     its signature, sequence, scope or age
    ├── TransferError  its chunks
    └── StorageError   the board's disk
"""

from contract.messages import Problem


class AgentError(Exception):
    """Anything that the agent can explain: a stable code, what happened, what to try."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint

    def problem(self) -> Problem:
        """Return what a stranger is told, cut to what the contract allows."""
        return Problem(code=self.code, message=self.message[:1000], hint=self.hint[:1000])


class ConfigError(AgentError):
    """The configuration is wrong; the agent does not start."""


class UnreachableError(AgentError):
    """Another program on this board does not answer."""


class RequestError(AgentError):
    """A client asked for something that cannot be answered."""


class ModelError(AgentError):
    """The model cannot be loaded or run."""


class UpdateError(AgentError):
    """A release is refused; what runs goes on running."""


class TrustError(UpdateError):
    """A release may not be trusted."""


class TransferError(UpdateError):
    """A blob did not arrive whole."""


class StorageError(UpdateError):
    """The disk is full, broken or read-only."""
