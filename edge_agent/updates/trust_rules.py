"""Who may speak, what is the newest, which order is obeyed: rules over bytes, beside those of `verify`."""

from typing import Iterable, NamedTuple, Optional, Tuple

from contract.stamps import parse_time
from contract.trust import Command, Root, Timestamp
from edge_agent.errors import TrustError
from edge_agent.updates.verify import (
    decode_envelope,
    open_document,
    require_fresh_root,
    require_signatures,
)


class VerifiedCommand(NamedTuple):
    """An order that is to be obeyed, and the ids of the release keys that signed it, sorted."""

    command: Command
    signed_by: Tuple[str, ...]


def verify_next_root(payload: bytes, root: Root) -> Root:
    """Return the root that follows `root`. Whether one has expired counts only for the last of a chain.

    Source: The Update Framework specification 1.0, section 5.3 "Update the root role".

    Raises:
        TrustError: it is not the next version, or not signed by a threshold of both roots' keys.
    """
    envelope = decode_envelope(payload)
    require_signatures(envelope, root, "root")
    following = open_document(envelope, Root, "root_invalid")
    if following.version != root.version + 1:
        raise TrustError("root_version", f"root {following.version} does not follow root {root.version}")
    require_signatures(envelope, following, "root")
    return following


def verify_timestamp(payload: bytes, root: Root, newest: Optional[Timestamp] = None) -> Timestamp:
    """Return a timestamp that is as new as the newest one seen, or newer.

    One that has expired is taken too: it allows nothing, and says that no newer one has been heard.

    Raises:
        TrustError: it is not signed by a timestamp key, or older than `newest`.
    """
    envelope = decode_envelope(payload)
    require_signatures(envelope, root, "timestamp")
    found = open_document(envelope, Timestamp, "timestamp_invalid")
    if newest is not None and found != newest and parse_time(found.issued) <= parse_time(newest.issued):
        raise TrustError("timestamp_old", f"timestamp of {found.issued} after that of {newest.issued}")
    return found


def verify_command(
    payload: bytes, root: Root, device: str, counter_high: int, now_s: float
) -> VerifiedCommand:
    """Return an order that this device shall obey, once.

    Args:
        payload: the envelope as it arrived.
        root: whose release keys count.
        device: who we are.
        counter_high: the highest counter that was ever obeyed.
        now_s: seconds since 1970, no earlier than the newest signed time.

    Raises:
        TrustError: it shall not; the code says which rule.
    """
    envelope = decode_envelope(payload)
    signed_by = require_signatures(envelope, root, "release")
    command = open_document(envelope, Command, "command_invalid")
    require_fresh_root(root, now_s)
    if command.device != device:
        raise TrustError("scope", f"the order is for {command.device}")
    if command.counter <= counter_high:
        raise TrustError("command_replayed", f"order {command.counter} after order {counter_high}")
    if parse_time(command.expires) < now_s:
        what = f"the order expired {command.expires}"
        raise TrustError("expired", what, "give it again; if the board's clock is wrong, set it")
    return VerifiedCommand(command, signed_by)


def counts_still(signed_by: Iterable[str], root: Root) -> bool:
    """Say whether what these release keys signed would be let in today; if not, it is forgotten.

    This undoes what a thief has said once his key is replaced. What was remembered before keys were noted
    stays remembered.
    """
    signers = set(signed_by)
    role = root.roles["release"]
    return not signers or len(signers.intersection(role.keys)) >= role.threshold
