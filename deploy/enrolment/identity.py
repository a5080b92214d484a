"""What makes a board one of ours: its key, made there, and the files of /etc/reefline; put all at once."""

import base64
import hashlib
import io
import json
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.boards.answer import Answer, clean
from deploy.boards.shell import Shell
from deploy.boards.survey import CONFIG_FOLDER, MARK, MQTT_FOLDER
from deploy.enrolment.goal import Goal
from deploy.trust.provisioning import build_settings
from host_cli.errors import CommandError, Failed, GateNotMet
from host_mqtt.credentials import CA_FILE, CERTIFICATE_FILE, KEY_FILE

# By their path below /etc/reefline.
SETTINGS, ROOT = "enrolled.toml", "root.json"
AUTHORITY, CERTIFICATE = f"mqtt/{CA_FILE}", f"mqtt/{CERTIFICATE_FILE}"
MAX_CERTIFICATE_BYTES = 16 * 1024
LOCK_WAIT_S = 5
_BUSY, _CHANGED, _CUT_OFF = 75, 76, 77
_HEAD = "# Written by deploy enroll, which replaces it; your own settings belong into agent.toml."
# Two computers that enroll one board take turns, and the second sees that the first has been there.
_COMMON = f"""
set -e
trap '' HUP PIPE
exec 9>/run/reefline-enroll.lock
flock -w {LOCK_WAIT_S} 9 || exit {_BUSY}
umask 022
mkdir -p {MQTT_FOLDER}
cd {CONFIG_FOLDER}
key=mqtt/{KEY_FILE}
new=mqtt/.{KEY_FILE}.new
{MARK}
[ "$(mark)" = "$mark" ] || exit {_CHANGED}
"""
# ssh-keygen is wherever sshd is, and -m PEM means the same in every version of it. It wants a key that only
# its owner reads, and the agent's group reads the real one, so it looks at a copy in memory.
_LOOK = (
    _COMMON
    + f"""
copy=/run/reefline-enroll.key
trap 'rm -f $copy' EXIT
public_of() {{ (umask 077 && cat $1 >$copy) && ssh-keygen -y -P '' -f $copy 2>/dev/null; }}
is_new=no
if [ $fresh = yes ] || ! public=$(public_of $key 2>/dev/null); then
    is_new=yes
    if ! public=$(public_of $new 2>/dev/null); then
        rm -f $new $new.pub
        (umask 077 && ssh-keygen -q -t ecdsa -b 256 -m PEM -N '' -C '' -f $new </dev/null)
        rm -f $new.pub
        sync $new
        public=$(public_of $new)
    fi
fi
echo "is_new=$is_new"
echo "public_key=$public"
echo "certificate=$(head -c {MAX_CERTIFICATE_BYTES} {CERTIFICATE} 2>/dev/null | base64 | tr -d '\\n')"
"""
)
# What takes time comes first; then names change one after the other, and the settings last: without them the
# agent does not start, and with them everything that they name is there.
_APPLY = (
    _COMMON
    + f"""
staging={CONFIG_FOLDER}/.enroll
trap 'rm -rf $staging' EXIT
rm -rf $staging
mkdir -m 700 $staging
cat >$staging/files.tar
[ "$(sha256sum <$staging/files.tar)" = "$sum  -" ] || exit {_CUT_OFF}
tar -x -m --no-same-owner -f $staging/files.tar -C $staging
rm $staging/files.tar
for file in $files; do
    chmod 644 $staging/$file
    sync $staging/$file
done
if [ $is_new = yes ]; then
    getent group reefline >/dev/null && chgrp reefline $new && chmod 640 $new
    sync $new
    mv -fT $new $key
fi
for file in $files; do
    mv -fT $staging/$file $file
done
sync mqtt .
"""
)


@dataclass(frozen=True)
class Identity:
    """What a board has: its public key, whether that is a new one, and its certificate, PEM."""

    public_key: str
    is_new: bool
    certificate: bytes


def look(shell: Shell, mark: str, *, fresh: bool) -> Identity:
    """Read a board's public key and certificate; where it has no key, or with `fresh`, it makes one.

    A key made now lies beside the old one until `apply`, and is found again by the next run. `mark` is the
    survey's; if the board has been enrolled since, it refuses.

    Raises:
        Unreachable: the connection is lost.
        GateNotMet: as `Shell.as_root`, or another computer enrolls the board.
        Failed: the board cannot make a key.
    """
    answer = shell.as_root(f"mark={shlex.quote(mark)}; fresh={'yes' if fresh else 'no'}" + _LOOK)
    if answer.status:
        raise _refusal(answer, shell.where)
    found = dict(line.partition("=")[::2] for line in answer.out.splitlines())
    try:
        certificate = base64.b64decode(found["certificate"], validate=True)
        return Identity(found["public_key"], found["is_new"] == "yes", certificate)
    except (KeyError, ValueError) as error:
        raise Failed("the board does not say which key it has", shell.where, "try again") from error


def apply(shell: Shell, mark: str, identity: Identity, files: Mapping[str, bytes]) -> None:
    """Put files below /etc/reefline, all or none, and the new key in its place.

    Args:
        shell: the board's.
        mark: the survey's; if the board has been enrolled since, it refuses.
        identity: what `look` saw.
        files: by their path below /etc/reefline; enrolled.toml comes last, whatever its place here.

    Raises:
        Unreachable: the connection is lost; the board has all of it, or nothing.
        GateNotMet: as `Shell.as_root`, or another computer has enrolled the board meanwhile.
        Failed: the board cannot keep the files.
    """
    names = sorted(files, key=lambda name: (name == SETTINGS, name))
    data = _pack({name: files[name] for name in names})
    words = {
        "mark": mark,
        "is_new": "yes" if identity.is_new else "no",
        "sum": hashlib.sha256(data).hexdigest(),
        "files": " ".join(names),
    }
    command = "; ".join(f"{name}={shlex.quote(word)}" for name, word in words.items()) + _APPLY
    answer = shell.as_root(command, stdin=data)
    if answer.status:
        raise _refusal(answer, shell.where)


def build_enrolled(goal: Goal) -> bytes:
    """Return enrolled.toml: what enrolment says about a board, below what a person writes into agent.toml."""
    values = {
        "device": goal.device,
        "tags": list(goal.tags),
        "hardware": goal.hardware,
        "edgetpu": goal.edgetpu,
    }
    # A JSON string, or list of strings, is one in TOML too, but for letters that JSON writes as two halves.
    said = {key: json.dumps(value, ensure_ascii=False) for key, value in values.items() if value is not None}
    lines = [f"{key} = {text}" for key, text in said.items()]
    return "\n".join([_HEAD, *lines, "", build_settings(goal.broker, goal.base)]).encode()


def _pack(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _refusal(answer: Answer, where: str) -> CommandError:
    if answer.status in (_BUSY, _CHANGED):
        tense = "is enrolling" if answer.status == _BUSY else "has just enrolled"
        return GateNotMet(
            f"another computer {tense} this board", where, "agree who does it, and run the command again"
        )
    # tar tells first what it met, and then that it gives up.
    what = clean(answer.err.strip().partition("\n")[0]) or answer.reason
    if answer.status == _CUT_OFF:
        what = "it did not arrive whole"
    return Failed(
        f"the board cannot keep its identity: {what}", f"{where}:{CONFIG_FOLDER}", "make room there"
    )
