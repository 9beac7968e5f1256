#!/usr/bin/env bash
# Install `.[predict]`, then `.[predict,openvino]`, in an empty environment without Paddle, and predict a photograph
# with published weights and an empty cache. Prints sizes and seconds, and fails where one is above its limit.
# Needs a package registry, so it is no part of `make test`.
#   .ci/small_install.sh [PHOTO]        PYTHON=python3.12 chooses the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
photo=$(realpath "${1:-docs/photos/astronaut.jpg}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/project" # pip would leave a folder `build` in the checkout
git ls-files -z | xargs -0 cp --parents -t "$folder/project"
export U2NET_HOME="$folder/cache"

install_and_predict() { # EXTRAS LIMIT_MB
    "${PYTHON:-python3}" -m venv "$folder/venv-$1"
    local bin="$folder/venv-$1/bin" site
    "$bin/python" -m pip install -qq --disable-pip-version-check "$folder/project[$1]"
    if "$bin/python" -c "import paddle" 2>"$folder/error"; then
        echo "Paddle is installed, so this shows nothing"
        exit 1
    fi
    site=$("$bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
    local size
    size=$(du -sm "$site" | cut -f1)
    echo "[$1]: $size MB (at most $2)"
    [ "$size" -le "$2" ]
    rm -rf "$U2NET_HOME"
    for run in first second; do
        local started
        started=$(date +%s.%N)
        (cd "$folder" && "$bin/u2net" predict --model_path u2netp --image_path "$photo" --save_dir "out-$1-$run")
        echo "[$1]: $run prediction: $(echo "$(date +%s.%N) - $started" | bc | cut -c1-5) s"
        ls "$folder/out-$1-$run"/cutout/*.png >/dev/null
    done
}

install_and_predict predict 420
install_and_predict predict,openvino 600
