#!/usr/bin/env bash
# Builds the virtual board: a bootable arm64 Debian disk that behaves like Mendel. Once; docs/virtual-board.md tells.
set -euo pipefail
exec 3>&2
cd "$(dirname "$0")/.."
# Debian 11 (Python 3.9, systemd 247) is the nearest to Mendel that can still be had; SUITE=bookworm is the second.
suite=${SUITE:-bullseye}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/reefline/board/$suite
packages=systemd,systemd-sysv,libpam-systemd,udev,dbus,kmod,procps,iproute2,openssh-server,sudo
packages+=,python3,python3-numpy,avahi-daemon,avahi-utils,busybox-static,linux-image-cloud-arm64
# What the kernel needs to mount its disk, with all that these depend on.
disk_modules="virtio_pci virtio_mmio virtio_blk ext4"
disk_size=2G

say() { printf '%s\n' "$*" >&3; }

give_up() {
    say "error: $1"
    say "   at: $cache"
    say "  try: $2"
    exit 1
}

install_tools() {
    local missing=()
    for package in debootstrap qemu-user-static qemu-system-arm qemu-utils e2fsprogs cpio kmod iproute2 openssh-client; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing Debian packages: ${missing[*]}"
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# The kernel hands arm64 programs to qemu. What is registered already stays as it is.
let_arm64_run() {
    local binfmt=/proc/sys/fs/binfmt_misc
    [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
    [ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
}

# The mirror that this machine's own packages come from; without one debootstrap has its own.
find_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1
}

make_root() {
    say "installing Debian $suite for arm64"
    debootstrap --arch=arm64 --foreign --variant=minbase --include="$packages" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$suite" "$1" $(find_mirror)
    say "configuring it (emulated: this takes minutes)"
    # INITRD=No: an initial ramdisk made under emulation would take as long again; ours is smaller, too. What it
    # mounts and starts is gone with it, however it ends.
    INITRD=No unshare --mount --pid --fork --kill-child chroot "$1" /debootstrap/debootstrap --second-stage
}

# As Mendel's: its user and groups, its keymaster, its announcement, no password over SSH.
make_like_mendel() {
    cp -r --no-preserve=ownership scripts/board/root/. "$1"
    chroot "$1" groupadd --system apex
    chroot "$1" useradd --create-home --shell /bin/bash --groups sudo,apex,plugdev,video,audio mendel
    echo mendel:mendel | chroot "$1" chpasswd
    chroot "$1" systemctl --quiet enable systemd-networkd mdt-keymaster pick-hostname
    printf 'localhost\n' >"$1/etc/hostname"
    printf '127.0.0.1 localhost\n' >"$1/etc/hosts"
    printf '/dev/vda / ext4 defaults,errors=remount-ro 0 1\n' >"$1/etc/fstab"
    : >"$1/etc/machine-id"
    rm -f "$1"/etc/ssh/ssh_host_* "$1"/var/cache/apt/archives/*.deb
    ssh-keygen -q -A -f "$1"
}

# The door of the tests: root, by a key that nobody else has. What is tested comes in as a person does.
add_test_key() {
    ssh-keygen -q -t ed25519 -N '' -C tests -f "$2"
    install -d -m 700 "$1/root/.ssh"
    install -m 600 "$2.pub" "$1/root/.ssh/authorized_keys"
}

make_initramfs() {
    local root=$1 target=$2 kernel work
    kernel=$(basename "$root"/lib/modules/*)
    work=$(mktemp -d)
    mkdir "$work/bin" "$work/dev" "$work/proc" "$work/root"
    cp "$root/bin/busybox" "$work/bin/"
    for module in $disk_modules; do
        modprobe --dirname "$root" --set-version "$kernel" --show-depends "$module"
    done | sed -n 's/^insmod //p' | awk '!seen[$1]++ { print $1 }' | while read -r file; do
        cp "$file" "$work/"
        printf '%s\n' "${file##*/}" >>"$work/modules"
    done
    install -m 755 scripts/board/init "$work/init"
    (cd "$work" && find . | cpio --quiet --create --format=newc | gzip -1) >"$target"
    rm -rf "$work"
}

build() {
    local new=$1
    make_root "$new/root"
    make_like_mendel "$new/root"
    add_test_key "$new/root" "$new/id_tests"
    make_initramfs "$new/root" "$new/initramfs"
    cp "$new"/root/boot/vmlinuz-* "$new/vmlinuz"
    mke2fs -q -t ext4 -L board -d "$new/root" "$new/disk.img" "$disk_size"
}

[ "$(id -u)" -eq 0 ] || give_up "only root can build a root file system, and lay a cable to it" "sudo make board"
install_tools
let_arm64_run
mkdir -p "${cache%/*}"
exec 9>"$cache.lock"
flock 9
recipe=$(sha256sum scripts/board.sh $(find scripts/board -type f | sort) | sha256sum)
if [ "$(cat "$cache/recipe" 2>/dev/null)" = "$recipe" ]; then
    say "the virtual board is there: $cache"
    exit 0
fi
# Built aside and moved at the end: a build that was interrupted leaves nothing that looks complete.
new=$cache.new
rm -rf "$new"
mkdir "$new"
finish() {
    status=$?
    rm -rf "$new"
    [ "$status" -eq 0 ] || { tail -n 20 "$cache.log" >&2; give_up "the virtual board was not built" "see $cache.log"; }
}
trap finish EXIT
build "$new" >"$cache.log" 2>&1
printf '%s\n' "$recipe" >"$new/recipe"
rm -rf "$cache"
mv "$new" "$cache"
say "the virtual board is built: $cache ($(du -sh "$cache/disk.img" | cut -f1) on disk, ${SECONDS} s)"
