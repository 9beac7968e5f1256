# Read by the other scripts of this folder.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3

# The comment at the top of the script.
usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; }

# need PATTERN … -- WORDS …: the first words must match these regular expressions, one each.
need() {
    local patterns=()
    while [ "$1" != -- ]; do patterns+=("$1"); shift; done
    shift
    case ${1:-} in -h | --help) usage; exit 0 ;; esac
    local pattern
    for pattern in "${patterns[@]}"; do
        if ! [[ ${1:-} =~ ^($pattern)$ ]]; then
            usage >&2
            echo "error: '${1:-}': expected a word like $pattern" >&2
            exit 2
        fi
        shift
    done
}

# launch OPTIONS … -- FLAGS …: options of paddle.distributed.launch, flags of `u2net train`.
launch() {
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    local command=("$python" -m paddle.distributed.launch "${options[@]}" "$root/train.py" "$@")
    if [ -z "${DRY_RUN:-}" ]; then exec "${command[@]}"; fi
    printf '%q ' "${command[@]}"
    echo
}
