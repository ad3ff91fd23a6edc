#!/usr/bin/env bash
# Build the image and push it to Amazon ECR:
#
#   container/build_and_push.sh [--target cpu|gpu] [--repository NAME] [--region REGION]
#                               [--account ID] [--dry-run]
#
# The last line on standard output is the URI to give to SageMaker as TrainingImage, or as a model's
# Image; all else goes to standard error. The repository (onepass) is created if it is missing. The
# image gets two tags, VERSION and VERSION-COMMIT, with -gpu behind them for that target; the URI
# has the second, which names one build. Account and region are those that the AWS CLI is set up
# with, unless they are given. --dry-run prints the commands instead of running them; with --region
# and --account it needs neither Docker nor the AWS CLI.
#
# Read from the environment, optional:
#
#   ONEPASS_BASE_IMAGE  what the image is built on, when the Dockerfile's default cannot be had
set -euo pipefail
cd "$(dirname "$0")/.."

DOCKER_MANIFEST=application/vnd.docker.distribution.manifest.v2+json

die() {
    echo "build_and_push: $1" >&2
    exit "${2:-1}"
}

usage() { sed -n '2,/^set/ { /^set/d; s/^# \{0,1\}//; p }' "$0"; }

# run COMMAND...: run it, or only print it.
run() {
    if [ "$dry_run" = yes ]; then
        printf '%q ' "$@"
        echo
    else
        "$@" >&2
    fi
}

read_arguments() {
    target=cpu repository=onepass region='' account='' dry_run=no
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry_run=yes && shift && continue ;;
            -h | --help) usage && exit 0 ;;
            --target | --repository | --region | --account) ;;
            *) die "unknown argument '$1'; see --help" 2 ;;
        esac
        [ -n "${2:-}" ] || die "$1 needs a value; see --help" 2
        printf -v "${1#--}" '%s' "$2"
        shift 2
    done
    case $target in
        cpu | gpu) ;;
        *) die "--target is cpu or gpu, not '$target'" 2 ;;
    esac
}

need_aws() {
    command -v aws >/dev/null || die "the AWS CLI is not installed: there is no 'aws' on PATH"
}

need_docker() {
    command -v docker >/dev/null || die "Docker is not installed: there is no 'docker' on PATH"
    docker info >/dev/null 2>&1 || die "no Docker daemon answers; 'docker info' says why"
}

find_region() {
    region=${region:-${AWS_REGION:-${AWS_DEFAULT_REGION:-}}}
    [ -n "$region" ] && return
    need_aws
    region=$(aws configure get region) && [ -n "$region" ] ||
        die "no region: give --region, set AWS_REGION, or run 'aws configure'"
}

find_account() {
    [ -n "$account" ] && return
    need_aws
    account=$(aws sts get-caller-identity --query Account --output text) ||
        die "the AWS CLI has no credentials that are valid: run 'aws configure' or 'aws sso login', or set AWS_PROFILE"
}

find_tags() {
    local commit suffix=''
    version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/onepass/__init__.py)
    [ "$target" = cpu ] || suffix=-$target
    tags=("$version$suffix")
    # Outside a checkout (an archive of the source) there is no commit to name.
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null) || return 0
    [ -z "$(git status --porcelain)" ] || commit+=-modified
    tags+=("$version-$commit$suffix")
}

# SageMaker takes Docker's own manifests only, neither OCI's nor an index of several, which is what
# attestations of buildx would make of the image; and it runs on x86-64.
build() {
    local command=(docker build) tag
    if [ "$dry_run" = yes ] || docker buildx version >/dev/null 2>&1; then
        command=(docker buildx build --platform linux/amd64 --provenance=false --sbom=false
            --output 'type=docker')
    elif [ "$(uname -m)" != x86_64 ]; then
        die "to build for x86-64 on $(uname -m), Docker needs its plugin buildx"
    fi
    command+=(--target "$target" --build-arg "VERSION=$version")
    [ -z "${ONEPASS_BASE_IMAGE:-}" ] || command+=(--build-arg "BASE_IMAGE=$ONEPASS_BASE_IMAGE")
    for tag in "${tags[@]}"; do command+=(--tag "$registry/$repository:$tag"); done
    run "${command[@]}" .
}

create_repository() {
    local create=(aws ecr create-repository --region "$region" --repository-name "$repository")
    local describe=(aws ecr describe-repositories --region "$region"
        --registry-id "$account" --repository-names "$repository")
    local answer
    if [ "$dry_run" = yes ]; then
        printf '%s || ' "${describe[*]}"
        run "${create[@]}"
    elif ! answer=$("${describe[@]}" 2>&1); then
        case $answer in
            *RepositoryNotFoundException*) run "${create[@]}" ;;
            *) die "cannot look for the repository $repository: $answer" ;;
        esac
    fi
}

log_in() {
    local password=(aws ecr get-login-password --region "$region")
    local login=(docker login --username AWS --password-stdin "$registry")
    if [ "$dry_run" = yes ]; then
        echo "${password[*]} | ${login[*]}"
    else
        "${password[@]}" | "${login[@]}" >&2 || die "cannot log in to $registry"
    fi
}

check_manifest() {
    local ask=(aws ecr describe-images --region "$region" --registry-id "$account"
        --repository-name "$repository" --image-ids "imageTag=${tags[-1]}"
        --query 'imageDetails[0].imageManifestMediaType' --output text)
    local kind
    [ "$dry_run" = no ] || { run "${ask[@]}" && return; }
    kind=$("${ask[@]}")
    [ "$kind" = "$DOCKER_MANIFEST" ] ||
        die "pushed, but as $kind, which SageMaker refuses; it takes $DOCKER_MANIFEST. Docker's containerd image store makes such: turn it off, and run this again"
}

read_arguments "$@"
[ "$dry_run" = yes ] || { need_aws && need_docker; }
find_region
find_account
find_tags
domain=amazonaws.com
case $region in cn-*) domain=amazonaws.com.cn ;; esac
registry=$account.dkr.ecr.$region.$domain

build
create_repository
log_in
for tag in "${tags[@]}"; do run docker push "$registry/$repository:$tag"; done
check_manifest
echo "$registry/$repository:${tags[-1]}"
