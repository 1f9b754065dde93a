#!/bin/sh
# Makes the root of an image out of a bare Debian or Ubuntu. Runs inside it, as root; the source
# of akash-llm lies in /build/source. The Containerfiles beside it call it, and so do the tests.
#
#   install.sh compile VARIANT   llama.cpp as a wheel in /build/wheels (cpu, cuda)
#   install.sh install VARIANT   Python, the server and what it needs, in /opt/akash-llm
#   install.sh clean VARIANT     whatever is only needed to get here goes, /build included
#
# VARIANT: cpu, cuda or gateway. apt and pip are used as they are configured there.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

BUILD=/build
SOURCE=$BUILD/source
LOCK=$SOURCE/requirements.lock
WHEELS=$BUILD/wheels
VENV=/opt/akash-llm
USER_ID=10001
# For what pip installs to make wheels with, too: there it hears no option, and of these variables
# the first until 25.3, then the second.
export PIP_CONSTRAINT=$LOCK PIP_BUILD_CONSTRAINT=$LOCK

main() {
    step=${1:-} variant=${2:-}
    case "$variant" in
    cpu | cuda | gateway) ;;
    *) fail "VARIANT is cpu, cuda or gateway, not '$variant'" ;;
    esac
    case "$step" in
    compile) compile ;;
    install)
        install_packages
        install_server
        add_user
        ;;
    clean)
        clean_python
        clean_system
        make_alike
        ;;
    *) fail "the steps are compile, install and clean, not '$step'" ;;
    esac
}

fail() {
    echo "install.sh: $1" >&2
    exit 2
}

add() {
    apt-get update -q
    apt-get install -q -y --no-install-recommends "$@"
}

# -- compile ------------------------------------------------------------------

# Providers differ in their processors, so none is assumed: each of llama.cpp's variants for
# one is a module of its own, and the best that a machine can run is loaded there.
compile() {
    options="-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON"
    options="$options -DCMAKE_INSTALL_BINDIR=llama_cpp/lib"
    [ "$variant" != cuda ] || options="$options -DGGML_CUDA=ON"
    [ "$variant" != gateway ] || fail "a gateway has no llama.cpp"
    add build-essential ca-certificates python3-venv
    python3 -m venv $BUILD/pip
    # What is compiled says where its source lay: in a folder of ours, as pip's have random names.
    $BUILD/pip/bin/pip download --no-cache-dir --no-deps --no-binary llama-cpp-python \
        --dest $BUILD/llama llama-cpp-python
    tar -xzf $BUILD/llama/*.tar.gz -C $BUILD/llama --strip-components=1 --no-same-owner
    # Whatever lies in pip's cache was made with other options.
    CMAKE_ARGS="$options" $BUILD/pip/bin/pip wheel --no-cache-dir --no-deps \
        --config-settings=build-dir=$BUILD/cmake --wheel-dir $WHEELS $BUILD/llama
}

# -- install ------------------------------------------------------------------

install_packages() {
    # tini passes signals on and takes in orphans; libgomp is for llama.cpp.
    add python3 python3-venv tini ca-certificates binutils libstdc++6
    [ "$variant" = gateway ] || add libgomp1
}

install_server() {
    extra=server
    [ "$variant" != gateway ] || extra=gateway
    mkdir -p $WHEELS
    python3 -m venv $VENV
    $VENV/bin/pip install --no-compile --find-links $WHEELS "$SOURCE""[$extra]"
    cp $SOURCE/templates/image/entry.py $SOURCE/templates/image/health.py $VENV/
}

add_user() {
    printf 'akash-llm:x:%s:%s::/state:/usr/sbin/nologin\n' $USER_ID $USER_ID >>/etc/passwd
    printf 'akash-llm:x:%s:\n' $USER_ID >>/etc/group
    mkdir -p /models /state
    chown $USER_ID:$USER_ID /models /state
    chmod 0700 /state
}

# -- clean --------------------------------------------------------------------

clean_python() {
    packages=$(echo $VENV/lib/python3.*/site-packages)
    # Litestar and uvicorn want them for what a server of ours has not: command lines, examples in
    # OpenAPI, a client for tests, WebSockets, reloading. And nothing is rented from here.
    $VENV/bin/pip uninstall -q -y faker polyfactory pygments rich rich-click markdown-it-py mdurl \
        httpx httpcore websockets watchfiles joserfc cryptography cffi pycparser
    # pip fetches the embedded model, which a gateway has no use for.
    [ "$variant" != gateway ] || $VENV/bin/pip uninstall -q -y pip
    # Programs of those that stay: nobody runs them here, and some need what has gone.
    find $VENV/bin -type f ! -name akash-llm -delete
    clean_llama "$packages"
    rm -rf "$packages"/toolkit/_notebooks "$packages"/pip/_vendor/distlib/*.exe
    find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -r {} +
    find "$packages" -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' \
        -o -name '*.c' -o -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete
    rm -rf "$packages"/numpy/f2py "$packages"/numpy/_core/include
    # What auditwheel has rearranged is left alone.
    find "$packages" -name '*.so' ! -path '*/numpy/*' ! -path '*/PIL/*' ! -path '*.libs/*' \
        -exec strip --strip-unneeded {} +
}

# The wheel has each library six times: under three names (a zip has no links) in two folders.
clean_llama() {
    libraries=$1/llama_cpp/lib
    [ -d "$libraries" ] || return 0
    (cd "$1" && rm -rf lib include bin llama_cpp/server llama_cpp/include)
    for file in "$libraries"/*.so.[0-9]; do
        rm -f "$file".*
        ln -sf "$(basename "$file")" "${file%.[0-9]}"
    done
}

# Nothing is installed or set up in a running container. What is left of the record of packages
# is true, for whoever looks for known holes in an image.
clean_system() {
    apt-get purge -q -y --auto-remove binutils
    purge python3-venv 'python3.*-venv' python3-pip-whl python3-setuptools-whl adduser \
        bash-completion bsdutils diffutils gpgv init-system-helpers libblkid1 libfdisk1 libmount1 \
        libpam-modules libpam-modules-bin libpam-runtime libpam0g libsemanage-common libsemanage2 \
        libsmartcols1 libudev1 login login.defs mount ncurses-bin openssl passwd \
        sensible-utils sqv sysvinit-utils tar util-linux util-linux-extra
    # Scripts of those above run these.
    purge apt 'libapt-pkg*' debconf debian-archive-keyring perl-base ubuntu-keyring
    find /root -mindepth 1 -delete
    rm -rf $BUILD /var/lib/apt /var/cache/* /var/log/* /var/backups /tmp/* /var/tmp/* \
        /usr/share/bash-completion /usr/share/doc /usr/share/info /usr/share/lintian \
        /usr/share/locale /usr/share/man /usr/share/perl5 /usr/share/pixmaps /usr/share/zsh \
        /usr/share/python-wheels /usr/lib/*/gconv /usr/lib/python3*/ensurepip \
        /usr/lib/python3*/idlelib /usr/lib/python3*/pydoc_data /usr/lib/python3*/test \
        /usr/lib/python3*/turtle* /usr/lib/python3*/unittest
    # Where OpenSSL looks for the roots of trust. It is the program's package that says so, and
    # that is gone.
    mkdir -p /usr/lib/ssl
    ln -sf /etc/ssl/certs/ca-certificates.crt /usr/lib/ssl/cert.pem
    ln -sfn /etc/ssl/certs /usr/lib/ssl/certs
    # The last one to go is what removes packages.
    purge dpkg
    rm -rf /etc/apt /etc/dpkg /var/lib/dpkg/info /var/lib/dpkg/*-old
}

# Packages by name or pattern; those that are not there are none. The base has some that it calls
# essential, which means: to install more.
purge() {
    there=$(dpkg-query --show --showformat '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^ii *//p') || true
    [ -n "$there" ] || return 0
    # shellcheck disable=SC2086
    said=$(dpkg --purge --force-all $there 2>&1) || fail "dpkg cannot remove packages: $said"
}

# Compiled for good, so that nothing is written or compiled in a root that is only read; without
# times in them, so that the same source gives the same bytes. Nobody becomes somebody else.
make_alike() {
    find / -xdev -name __pycache__ -type d -prune -exec rm -r {} +
    # -B, or what it imports itself is there before, with times.
    $VENV/bin/python -B -m compileall -q --invalidation-mode unchecked-hash \
        /usr/lib/python3* $VENV/lib
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +
    [ -z "${SOURCE_DATE_EPOCH:-}" ] || set_times
}

# What an engine mounts while it builds is not ours.
set_times() {
    find / -xdev \( -path /dev -o -path /proc -o -path /run -o -path /sys -o -path /etc/hosts \
        -o -path /etc/hostname -o -path /etc/resolv.conf \) -prune \
        -o -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

main "$@"
