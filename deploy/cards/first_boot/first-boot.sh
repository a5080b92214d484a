#!/bin/sh
# Makes this board one of a fleet with what `deploy flash --sdcard` put beside this file: once, at the first boot.
#
# A step that finds its work done does nothing, so the power may go at any moment and all of it runs again.
# `done` says that no work is left: then the secrets are removed, and then everything else that lies here.
set -u

here=/var/lib/reefline-first-boot
log=/var/log/reefline-first-boot.log
settings=/etc/reefline
packages=/var/cache/reefline
connections=/etc/NetworkManager/system-connections
unit=reefline-first-boot.service

main() {
    cd "$here" || exit 1
    if [ ! -e done ]; then
        check_files && refuse_another_identity && set_clock && let_user_in && set_up_wifi && enrol &&
            install_package || give_up
        finish "this board is $(cat name); it appears as soon as it reaches the broker"
    fi
    clean_up
}

say() {
    echo "$*"
    echo "$(date -u '+%Y-%m-%dT%H:%M:%SZ') $*" >>"$log"
}

give_up() {
    say "not finished, the next boot tries again: $log has the reason"
    exit 1
}

finish() {
    say "$*"
    : >done
    sync
}

clean_up() {
    # The secrets go first: should the power fail now, `done` brings us back here.
    rm -f client.key wifi.nmconnection
    sync
    rm -f "/etc/systemd/system/multi-user.target.wants/$unit" "/etc/systemd/system/$unit"
    sync
    rm -rf "$here"
    sync
}

# put FILE PLACE MODE OWNER: PLACE is what it was or the whole new file.
put() {
    cmp -s "$1" "$2" && return
    temporary=$(dirname "$2")/.$(basename "$2").new
    rm -f "$temporary"
    (umask 077 && cp "$1" "$temporary") && chown "$4" "$temporary" && chmod "$3" "$temporary" &&
        sync "$temporary" && mv "$temporary" "$2" && sync "$(dirname "$2")"
}

check_files() {
    sha256sum --check --quiet SHA256SUMS >>"$log" 2>&1 && return
    say "the files from the card are damaged: prepare the card again"
    return 1
}

# A board that has an identity keeps it, and what the card brought is removed.
refuse_another_identity() {
    there=$settings/mqtt/client.pem
    [ ! -e "$there" ] || cmp -s client.pem "$there" && return
    finish "this board was enrolled before, by somebody else's card or deploy enroll: nothing was changed"
    clean_up
    exit 1
}

# There is no battery behind the clock; it is later now than when the card was prepared.
set_clock() {
    [ "$(date +%s)" -ge "$(cat clock)" ] && return
    date -s "@$(cat clock)" >>"$log" 2>&1 && say "the clock was behind and was set"
    return 0
}

# A last line without its end would swallow ours.
add_key='
    mkdir -p -m 700 "$0/.ssh" && cd "$0/.ssh" && umask 077 &&
        { sed "\$a\\" authorized_keys 2>/dev/null; cat; } >.authorized_keys.new &&
        sync .authorized_keys.new && mv .authorized_keys.new authorized_keys && sync .'

let_user_in() {
    user=$(cat user)
    home=$(getent passwd "$user" | cut -d: -f6)
    if [ -z "$home" ]; then
        say "there is no user $user: nobody's SSH key was added"
        return
    fi
    keys=$home/.ssh/authorized_keys
    grep -qxF "$(cat authorized_keys)" "$keys" 2>/dev/null && return
    # As the user, in whose home anything may be a link: root would follow it.
    runuser -u "$user" -- sh -c "$add_key" "$home" <authorized_keys 2>>"$log" &&
        say "$user may log in with your SSH key"
}

set_up_wifi() {
    [ -e wifi.nmconnection ] || return 0
    if [ ! -d "$connections" ]; then
        say "there is no NetworkManager: Wi-Fi was not set up"
        return
    fi
    put wifi.nmconnection "$connections/reefline.nmconnection" 600 root:root || return
    # Where it does not run yet it reads the file when it starts.
    nmcli radio wifi on >>"$log" 2>&1
    nmcli connection reload >>"$log" 2>&1
    say "Wi-Fi is set up"
}

# The agent starts where enrolled.toml is, so that comes last. Its package gives the key to the agent's group.
enrol() {
    owner=root:root key_mode=600
    if getent group reefline >/dev/null; then owner=root:reefline key_mode=640; fi
    mkdir -p "$settings/mqtt" &&
        put root.json "$settings/root.json" 644 "$owner" &&
        put ca.pem "$settings/mqtt/ca.pem" 644 "$owner" &&
        put client.pem "$settings/mqtt/client.pem" 644 "$owner" &&
        put client.key "$settings/mqtt/client.key" "$key_mode" "$owner" &&
        put enrolled.toml "$settings/enrolled.toml" 644 "$owner" &&
        say "the identity is in place"
}

install_package() {
    kind="$(dpkg --print-architecture) $(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    line=$(grep -F "$kind " packages)
    if [ -z "$line" ]; then
        say "no package on the card is for this board: $kind"
        return 1
    fi
    sha256=$(echo "$line" | cut -d' ' -f3)
    file=$(echo "$line" | cut -d' ' -f4)
    is_installed && return
    mkdir -p "$packages" && put "$file" "$packages/$file" 644 root:root &&
        put install.sh "$packages/install.sh" 755 root:root || return
    sh "$packages/install.sh" "$file" "$sha256" result-first-boot
    cat "$packages/log" >>"$log"
    if ! is_installed; then
        say "dpkg did not install $file"
        return 1
    fi
    say "$file is installed"
}

is_installed() {
    [ "$(cat "$packages/installed" 2>/dev/null)" = "$sha256  $file" ] &&
        [ "$(dpkg-query -W -f '${db:Status-Status}' reefline-agent 2>/dev/null)" = installed ]
}

main
