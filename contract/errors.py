"""What can be wrong with something another program sent. The sender has to act, never the reader.

ContractError
├── TopicError      a topic that nobody may write, or a name that cannot stand in one
├── MessageError    a payload with a wrong type, range, size or depth; names the field and the value
└── ManifestError   a release, root or bundle that contradicts itself
"""


class ContractError(Exception):
    """The other side sent something that the contract does not allow."""


class TopicError(ContractError):
    """A topic or a name in it does not follow the contract."""


class MessageError(ContractError):
    """A payload does not follow the contract."""


class ManifestError(MessageError):
    """A signed document or a bundle manifest contradicts itself."""
