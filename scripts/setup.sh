#!/usr/bin/env bash
# Sets up what `make demo` (setup.sh demo), `make test` or `make deb` needs; quick when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:-demo}
python=${PYTHON:-python3}

say() { printf '%s\n' "$*" >&2; }

is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_debian_packages() {
    local missing=()
    for package in mosquitto dataset-fashion-mnist; do
        is_installed "$package" || missing+=("$package")
    done
    "$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    if [ "$wanted" = test ]; then
        command -v mosquitto_sub >/dev/null || missing+=(mosquitto-clients)
        command -v curl >/dev/null || missing+=(curl)
        command -v kubectl >/dev/null || missing+=(kubernetes-client)
        command -v lintian >/dev/null || missing+=(lintian)
        [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
        command -v sudo >/dev/null || missing+=(sudo)
        compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || missing+=(postgresql)
    fi
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "not installed: ${missing[*]} (as root: apt-get install ${missing[*]})"
        for package in "${missing[@]}"; do
            case $package in
                mosquitto) say "  without mosquitto an embedded broker serves" ;;
                dataset-fashion-mnist) say "  without dataset-fashion-mnist Keras downloads the pictures" ;;
                python3-venv) say "  without python3-venv nothing can be set up" && exit 2 ;;
                *) say "  without $package the tests that use it are skipped" ;;
            esac
        done
        return 0
    fi
    say "installing Debian packages: ${missing[*]}"
    case " ${missing[*]} " in
        *" openssh-server "*)
            # Only tests start it, in a place of their own: this computer shall not be open to others for that.
            mkdir -p /etc/ssh
            touch /etc/ssh/sshd_not_to_be_run
            say "  its service stays off; to use it: rm /etc/ssh/sshd_not_to_be_run"
            ;;
    esac
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# make_venv FOLDER PYTHON WHAT...: a virtual environment that holds WHAT, made anew only when that changes.
make_venv() {
    local folder=$1 interpreter=$2
    shift 2
    local stamp="$folder/.installed" state
    state="$("$interpreter" --version 2>&1) $* $(sha256sum setup.cfg pyproject.toml | sha256sum)"
    [ "$(cat "$stamp" 2>/dev/null)" != "$state" ] || return 0
    say "setting up $folder ($("$interpreter" --version 2>&1)); the first time takes minutes"
    "$interpreter" -m venv "$folder"
    local log="$folder/setup.log"
    if ! { "$folder/bin/pip" install --upgrade pip && "$folder/bin/pip" install "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "error: pip could not install $*"
        say "   at: $folder"
        say "  try: see $log"
        exit 1
    fi
    printf '%s' "$state" >"$stamp"
}

# The board runs CPython 3.7: its path, or nothing where none is found.
find_python37() {
    if python3.7 -c '' 2>/dev/null; then command -v python3.7; return; fi
    command -v pyenv >/dev/null || return 0
    local version
    version=$(pyenv whence python3.7 2>/dev/null | tail -n 1)
    [ -z "$version" ] || PYENV_VERSION=$version pyenv which python3.7
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    say "error: $python is older than 3.10"
    say "   at: $(command -v "$python")"
    say "  try: PYTHON=/path/to/python3.11 make $wanted"
    exit 2
fi
# The packages need little: whatever environment is here will do.
if [ "$wanted" = deb ]; then
    [ -x .venv/bin/nfpm ] || make_venv .venv "$python" -e '.[package]'
    exit 0
fi
if command -v dpkg-query >/dev/null; then install_debian_packages; fi

extras=agent,train,quantize,deploy,embedded-broker
all_extras=$extras,serve,s3,postgresql,kubernetes,kfp,dev
# Going from test back to demo must not make the environment anew.
if [ "$wanted" = test ] || grep -qs ',dev\]' .venv/.installed; then extras=$all_extras; fi
make_venv .venv "$python" -e ".[$extras]"

python37=$(find_python37)
if [ -z "$python37" ]; then
    say "no CPython 3.7 found: the agents run on $("$python" --version), the board's own Python is not tested"
else
    make_venv .venv37 "$python37" -e '.[agent,test]'
    if [ "$wanted" = test ]; then make_venv .venv-tf25 "$python37" 'tensorflow==2.5.3' 'protobuf<3.21'; fi
fi
# Flower wants older versions of what the programs use, so it stands apart; our averages are compared with its.
if [ "$wanted" = test ]; then make_venv .venv-peers "$python" 'flwr>=1.20,<2'; fi
