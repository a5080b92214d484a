#!/bin/sh
# Installs a package that lies beside this file, on a board, apart from whoever asked for it.
#
#   install.sh FILE SHA256 RESULT
#
# Ends with the agent started, whatever came of it. RESULT gets dpkg's exit status in the end, `log` what dpkg
# said, and `installed` names the package once it is. `lock` is held all the while.
set -u
cd "$(dirname "$0")" || exit 1
file=$1 sha256=$2 result=$3

# A name appears with its whole content: the power may go at any moment.
keep() {
    cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync .
}

# An earlier installation may have been cut off; while another program uses dpkg, it ends with 2.
finish_earlier() {
    for _ in $(seq 60); do
        dpkg --configure -a
        [ $? -eq 2 ] || return
        sleep 1
    done
}

install_package() {
    echo "$sha256  $file" | sha256sum --check --quiet || return
    finish_earlier
    rm -f installed
    dpkg --force-confdef --force-confold --install "$file" || return
    echo "$sha256  $file" | keep installed
}

exec 9>lock
flock 9
exec >log 2>&1 </dev/null
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
# Another computer may not have read its own yet.
find . -maxdepth 1 -name 'result-*' -mmin +60 -delete
# Whatever goes on afterwards must not hold the lock.
install_package 9>&-
status=$?
systemctl reset-failed reefline-agent.service 9>&-
systemctl start reefline-agent.service 9>&-
echo "$status" | keep "$result"
