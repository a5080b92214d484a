#!/bin/sh
# For a card that is not the board's own disk: `sudo sh start.sh` on the board copies it all over and begins.
set -eu

here=/var/lib/reefline-first-boot
unit=reefline-first-boot.service

main() {
    [ "$(id -u)" = 0 ] || fail "only root can do that: sudo sh $0"
    cd "$(dirname "$0")"
    [ -e client.key ] || fail "this card was used before, and its secrets are gone: prepare it again"
    sha256sum --check --quiet SHA256SUMS || fail "the files on the card are damaged: prepare it again"
    copy_to_board
    # From here on the board goes on by itself, also after a power cut.
    rm -f client.key wifi.nmconnection
    sync
    systemctl start "$unit" || fail "not finished: cat /var/log/reefline-first-boot.log"
    cat /var/log/reefline-first-boot.log
}

fail() {
    echo "$*" >&2
    exit 1
}

copy_to_board() {
    umask 077
    rm -rf "$here.new"
    mkdir "$here.new"
    cp -- * "$here.new"
    sync
    rm -rf "$here"
    mv "$here.new" "$here"
    install -m 644 "$unit" "/etc/systemd/system/$unit"
    systemctl daemon-reload
    systemctl enable "$unit"
    sync
}

main
