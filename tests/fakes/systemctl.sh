#!/bin/sh
# Stands in for systemctl and systemd-run in a copy of this machine: starts what the unit's file says, as its user.
# It starts nothing anew by itself, and confines nothing.
set -u
places="/etc/systemd/system /lib/systemd/system /usr/lib/systemd/system"
state=/run/units

if [ "${0##*/}" = systemd-run ]; then
    while [ "${1#--}" != "$1" ]; do shift; done
    setsid "$@" </dev/null >/dev/null 2>&1 &
    exit
fi

setting() {
    sed -n "s/^$1=//p" "$file" | tail -n 1
}

# Nobody here waits for what has ended.
is_active() {
    [ -e "$state/$unit" ] && grep -q '^State:.[^Z]' "/proc/$(cat "$state/$unit")/status" 2>/dev/null
}

stop() {
    if is_active; then
        kill "$(cat "$state/$unit")"
        while is_active; do sleep 0.05; done
    fi
    rm -f "$state/$unit"
}

start() {
    is_active && return
    condition=$(setting ConditionPathExists)
    [ -z "$condition" ] || [ -e "$condition" ] || return 0
    user=$(setting User)
    for folder in "/run/$(setting RuntimeDirectory)" "/var/lib/$(setting StateDirectory)"; do
        mkdir -p "$folder" && [ "${folder%/}" != "$folder" ] || chown "$user:" "$folder"
    done
    setsid setpriv --reuid="$user" --regid="$user" --init-groups env -i PATH="$PATH" LANG=C.UTF-8 \
        $(setting ExecStart) </dev/null >>"$state/$unit.log" 2>&1 &
    echo $! >"$state/$unit"
}

if [ "$*" = --version ]; then
    echo "systemd 241 (241)"
    exit
fi
verb=
unit=
for word in "$@"; do
    case $word in
        --*) ;;
        *.service) unit=$word ;;
        *) verb=${verb:-$word} ;;
    esac
done
mkdir -p "$state"
file=
for place in $places; do
    [ ! -e "$place/$unit" ] || file=${file:-$place/$unit}
done
case $verb in
    daemon-reload | reset-failed) exit 0 ;;
esac
if [ -z "$unit" ] || [ -z "$file" ]; then
    echo "Unit $unit not found." >&2
    exit 5
fi
case $verb in
    start) start ;;
    stop) stop ;;
    restart) stop && start ;;
    is-active) is_active && echo active || { echo inactive && exit 3; } ;;
    is-enabled) echo enabled ;;
    *) exit 0 ;;
esac
