#!/bin/sh
# install.sh LIST: have the Debian packages of a list (one a line, # comments), by apt-get where this is Debian and we are root.
# Elsewhere it says which are missing, and what can run without them does. Kernel packages are only unpacked, into .cache/kernel:
# a test needs a kernel to boot in QEMU, not one that this machine may boot.
# It writes .cache/lab.env, which tells the tests whether something may be missing.
set -eu

list=$1
cache=.cache
mkdir -p "$cache"

packages=$(sed 's/#.*//' "$list" | tr -s ' \n' ' ')
missing='' kernels=''
for package in $packages; do
    case $package in
    linux-image-*)
        ls /boot/vmlinuz-*-cloud-amd64 >/dev/null 2>&1 || ls "$cache"/kernel/boot/vmlinuz-* >/dev/null 2>&1 ||
            kernels="$kernels $package" ;;
    *)
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package" ;;
    esac
done

is_debian=no
if [ -r /etc/debian_version ] && command -v apt-get >/dev/null; then is_debian=yes; fi
is_root=no
if [ "$(id -u)" = 0 ]; then is_root=yes; fi

# The file of a package and all of its contents that a guest needs: the image and the modules.
unpack_kernel() {
    real=$(apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -n 1)
    download=$(mktemp -d)
    if [ "$is_root" = yes ]; then sandbox='-o APT::Sandbox::User=root'; else sandbox=''; fi
    # shellcheck disable=SC2086 # no word, or an option and its value
    (cd "$download" && apt-get $sandbox download "${real:-$1}")
    dpkg-deb --extract "$download"/*.deb "$cache/kernel"
    rm -rf "$download"
}

required=no
if [ "$is_debian" = yes ]; then
    if [ "$is_root" = yes ]; then
        required=yes
        if [ -n "$missing$kernels" ]; then
            echo "installing Debian packages:$missing$kernels"
            apt-get -q update
            # shellcheck disable=SC2086 # a list of words
            [ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends $missing
        fi
    fi
    if [ "$(dpkg --print-architecture)" = amd64 ]; then
        for package in $kernels; do unpack_kernel "$package" || echo "cannot download $package"; done
    fi
fi

if [ "$required" = yes ]; then
    echo 'export USERNAT_LAB=require' >"$cache/lab.env"
else
    : >"$cache/lab.env"
    if [ -n "$missing$kernels" ]; then
        echo "Not $([ "$is_debian" = yes ] && echo root || echo Debian), so nothing is installed here. Missing, by their Debian names:"
        echo "   $missing$kernels"
        echo "What needs them is skipped, and says so."
    fi
fi
