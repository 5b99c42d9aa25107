#!/bin/bash
# Submits the parts of a split video as an array job, and the join, which runs when all are painted.
set -euo pipefail
usage="usage: submit.sh [--gpu] [--at-once N] JOB OUTPUT [-- OPTIONS OF SBATCH FOR THE PARTS]"
die() { echo "submit.sh: $*" >&2; exit "${code:-1}"; }

here=$(cd "$(dirname "$0")" && pwd)
gpu=() at_once='' named=()
while [ $# -gt 0 ]; do
    case $1 in
        --gpu) gpu=(--gres=gpu:1) ;;
        --at-once) at_once=${2-}; shift; [[ $at_once =~ ^[1-9][0-9]*$ ]] || code=2 die "$usage" ;;
        --help | -h) echo "$usage"; exit ;;
        --) shift; break ;;
        -*) code=2 die "$usage" ;;
        *) named+=("$1") ;;
    esac
    shift
done
[ ${#named[@]} = 2 ] || code=2 die "$usage"
job=$(realpath "${named[0]}") output=$(realpath -m "${named[1]}")
[ ! -e "$output" ] || die "'$output' exists already"

status=$("${NST_STREAM:-nst-stream}" status "$job" --json)
parts=$(sed -n 's/^ *"parts": *\([0-9]*\).*/\1/p' <<<"$status")
[ -n "$parts" ] || die "nst-stream status says no number of parts"
mkdir -p "$job/log"
log=${job//%/%%}/log # sbatch replaces %

# Options come last, so that they prevail.
array=$(sbatch --parsable --array="0-$((parts - 1))${at_once:+%$at_once}" --output="$log/part-%a.log" \
    ${gpu[@]+"${gpu[@]}"} "$@" "$here/part.sbatch" "$job")
array=${array%%;*} # ID;CLUSTER
join=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes --output="$log/join.log" \
    "$here/join.sbatch" "$job" "$output") ||
    { scancel "$array"; die "the join could not be submitted: the parts are cancelled"; }
echo "parts: job $array, 0 to $((parts - 1)); join: job ${join%%;*}; logs: $job/log"
