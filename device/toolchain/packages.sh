# System packages, looked up by the command (or file) that they bring.

# want COMMAND PACKAGE: notes PACKAGE where COMMAND (or the file of that name) is missing.
want() {
    if [ -e "$1" ] || command -v "$1" > /dev/null; then return; fi
    case " $missing " in *" $2 "*) ;; *) missing+=" $2" ;; esac
}

# need_packages TARGET...: installs what the targets lack where that is allowed, else says what to type.
# Targets: those of setup.sh, and `host` for a virtual environment with compiled code in it.
need_packages() {
    local target missing=""
    for target in "$@"; do
        want gcc gcc
        want make make
        want xz xz-utils
        want "${PYTHON:-python3}" python3
        command -v apt-get > /dev/null || [ -n "${MPY_DIR:-}" ] || want git git
        case $target in
            host)
                "$PYTHON" -c 'import ensurepip' 2> /dev/null || missing+=" python3-venv"
                want "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" python3-dev
                want /usr/include/stdio.h libc6-dev
                ;;
            rv32)
                want riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf
                want /usr/lib/picolibc/riscv64-unknown-elf picolibc-riscv64-unknown-elf
                want qemu-system-riscv32 qemu-system-misc
                ;;
            xtensa)  # of picolibc only the headers are used
                want /usr/lib/picolibc/riscv64-unknown-elf picolibc-riscv64-unknown-elf
                want qemu-xtensa qemu-user
                ;;
            fuzz)  # Debian's default version of clang, and its libFuzzer and sanitizers
                want clang clang
                want "$(clang -print-file-name="libclang_rt.fuzzer-$(uname -m).a" 2> /dev/null)" libclang-rt-dev
                ;;
        esac
    done
    [ -n "$missing" ] || return 0
    if ! command -v apt-get > /dev/null; then
        echo "missing:$missing (Debian's names); install them with your system's package manager and run this again" >&2
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        echo "missing system packages. Type this, then run the same command again:" >&2
        echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "installing$missing"
    # shellcheck disable=SC2086  # a list of package names
    install_packages $missing || { apt-get -qq update && install_packages $missing; } || {
        echo "apt-get could not install:$missing" >&2
        exit 1
    }
}

install_packages() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" > /dev/null
}
