#!/usr/bin/env bash
# Everything a change must pass: format, lint, types, the image, the tests. Arguments go to pytest:
#
#   tests/run.sh -k recordio
#
# Made once and kept in the checkout: .venv (this package and its tools) and .oracles (MXNet and two
# of the SageMaker SDK, which tests compare with, schemathesis, and CuPy with NVIDIA's compiler).
# Read from the environment, all optional:
#
#   ONEPASS_TEST_DATA   a folder of real data sets
#   ONEPASS_BASE_IMAGE  what the image is built on, when the Dockerfile's default cannot be had
#   ONEPASS_IMAGE       the tag to give the image (onepass:test)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

say() { printf '\n== %s (%ds)\n' "$*" "$SECONDS"; }

failed=()
step() {
    say "$*"
    "$@" || failed+=("$*")
}

# uv takes a tenth of pip's time, but knows nothing of how pip is configured where packages come from
# elsewhere; so where it fails, pip is asked.

# add_packages PYTHON REQUIREMENT...
add_packages() {
    .venv/bin/uv pip install --quiet --python "$@" || "$1" -m pip install --quiet "${@:2}"
}

# make_environment FOLDER REQUIREMENT...
make_environment() {
    { .venv/bin/uv venv --quiet "$1" &&
        .venv/bin/uv pip install --quiet --python "$1/bin/python" "${@:2}"; } ||
        { rm -rf "$1" && python3 -m venv "$1" && "$1/bin/pip" install --quiet "${@:2}"; }
}

# make_oracle NAME MODULE REQUIREMENT...: an environment of its own, as its versions would break
# ours.
make_oracle() {
    local name=$1 module=$2 home=$ONEPASS_ORACLES/$1
    shift 2
    [ "$(cat "$home/ready" 2>/dev/null)" = "$*" ] && return
    rm -rf "$home"
    mkdir -p "$ONEPASS_ORACLES"
    if { make_environment "$home" "$@" &&
        "$home/bin/python" -W ignore -c "import $module"; } >"$home.log" 2>&1; then
        echo "$*" >"$home/ready"
    else
        echo "Cannot install and import $*, so the tests against $name are skipped:"
        tail -n 3 "$home.log"
        rm -rf "$home"
    fi
}

# A base that is not there may be in the making.
build_image() {
    local base=()
    if [ -n "${ONEPASS_BASE_IMAGE:-}" ]; then
        base=(--build-arg "BASE_IMAGE=$ONEPASS_BASE_IMAGE")
        timeout 300 sh -c 'until docker image inspect "$1"; do sleep 1; done' \
            sh "$ONEPASS_BASE_IMAGE" >/dev/null 2>&1 || true
    fi
    if docker build --network=host --target cpu "${base[@]}" --tag "$ONEPASS_IMAGE" . \
        >.cache/image.log 2>&1; then
        docker image inspect --format '{{.Id}} {{.Size}} bytes' "$ONEPASS_IMAGE"
    else
        tail -n 30 .cache/image.log
        unset ONEPASS_IMAGE
        return 1
    fi
}

mkdir -p .cache
# More threads of linear algebra than the small arrays of tests are worth slow them down.
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
export ONEPASS_ORACLES=$PWD/.oracles
# Tests start Python many hundred times, which is to find modules compiled.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX=$PWD/.cache/pycache
trap 'kill $(jobs -p) 2>/dev/null' EXIT

say "installing this package and its tools into .venv"
[ -x .venv/bin/python ] || python3 -m venv .venv || exit 1
.venv/bin/python -m pip install --quiet 'uv>=0.8,<1' || exit 1
make_oracle mxnet mxnet 'mxnet==1.9.1' 'numpy<1.24' &
make_oracle sagemaker sagemaker 'sagemaker<3' scipy &
make_oracle sagemaker3 sagemaker.train 'sagemaker-train>=1.20,<2' &
make_oracle schemathesis schemathesis 'schemathesis>=4.32,<5' &
make_oracle nvidia nvidia 'nvidia-cuda-nvrtc-cu12>=12.4,<13' 'cupy-cuda12x>=13.6,<15' &
add_packages .venv/bin/python --editable '.[dev,fuzz]' || exit 1
PATH=$PWD/.venv/bin:$PATH

step ruff format --check .
step ruff check .
mypy >.cache/mypy.log 2>&1 & # one core; the image takes the other
types=$!

if docker info >/dev/null 2>&1; then
    export ONEPASS_IMAGE=${ONEPASS_IMAGE:-onepass:test}
    step build_image
else
    say "no Docker daemon answers, so the tests of the image are skipped"
    unset ONEPASS_IMAGE
fi

say "mypy"
wait "$types" || failed+=(mypy)
cat .cache/mypy.log
say "waiting for the oracles"
wait

# A file's tests run in one process; "-n 0" gives all of them to one. Many wait for others, so there
# is a process more than there are cores; those that wait longest go first.
cores=$(nproc)
step pytest --doctest-modules -n $((cores < 4 ? cores + 1 : 4)) --dist loadfile --no-loadscope-reorder \
    tests/image tests/hosts tests/platform src/onepass tests "$@"

# pytest's closing line stays the last one of a run that passed.
[ ${#failed[@]} -eq 0 ] && exit
echo
printf 'FAILED: %s\n' "${failed[@]}"
exit 1
