#!/usr/bin/env bash
# Runs the scripts of packaging/slurm with a real Slurm on this machine alone: a film is painted in four
# parts, one of which is killed and queued again, and the joined film must have the frames of a single run.
#
#   scripts/test_slurm.sh [PROGRAM]      (as root, since slurmd runs as root)
#
# Slurm and munge come from Debian's packages. What is not installed is unpacked into target/slurm/root, so that no
# service is set up. Daemons listen on 127.0.0.1 alone, and end with this script; their files are in
# target/slurm/run.*, which is removed.
set -euo pipefail
cd -P "$(dirname "$0")/.."

say() { echo "test-slurm: $*"; }
die() { echo "test-slurm: error: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "it must be run as root, as slurmd is"
export NST_STREAM
NST_STREAM=$(realpath "${1:-target/release/nst-stream}")
[ -x "$NST_STREAM" ] || die "there is no program $NST_STREAM; build it first (make build)"
root=$PWD/target/slurm/root

# --- packages ---------------------------------------------------------------------------------------------------
unpack() {
    local packages debs=target/slurm/debs
    [ ! -e "$root/.complete" ] || return 0
    command -v apt-get >/dev/null || die "no apt-get here: munge and Slurm of Debian are needed"
    list() { packages=$(apt-get install -s --no-install-recommends munge slurmctld slurmd slurm-client 2>/dev/null | awk '$1 == "Inst" { print $2 }'); }
    # shellcheck disable=SC2086 # a list of names
    download() { list && { [ -z "$packages" ] || (cd "$debs" && apt-get -qq download $packages 2>/dev/null); }; }
    rm -rf "$root" "$debs"
    mkdir -p "$root" "$debs"
    download || { apt-get -qq update && download; } || die "apt-get cannot download munge and Slurm"
    [ -z "$packages" ] || say "unpacking" $packages
    for package in "$debs"/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$root"
    done
    rm -rf "$debs"
    touch "$root/.complete"
}
mkdir -p target/slurm
exec 8>target/slurm/lock
flock 8 # two runs must not unpack at once
unpack
flock -u 8
exec 8>&-

# first <pattern>...: the first file that is there, unpacked or installed.
first() {
    local name
    for name in "$@"; do
        for name in "$root"$name $name; do [ ! -e "$name" ] || { echo "$name"; return; }; done
    done
    die "the packages have none of: $*"
}
plugins=$(dirname "$(first '/usr/lib/*/slurm-wlm/select_cons_tres.so' '/usr/lib/*/slurm/select_cons_tres.so')")
slurmctld=$(first /usr/sbin/slurmctld-wlm /usr/sbin/slurmctld)
slurmd=$(first /usr/sbin/slurmd-wlm /usr/sbin/slurmd)
slurmstepd=$(first '/usr/sbin/slurmstepd-wlm' '/usr/sbin/slurmstepd' '/usr/lib/*/slurm-wlm/slurmstepd' '/usr/libexec/slurm/slurmstepd')
munged=$(first /usr/sbin/munged)
if [ -d "$root/usr" ]; then
    libraries=$(dirname "$plugins")
    export PATH=$root/usr/bin:$PATH
    export LD_LIBRARY_PATH=$plugins:$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# --- a cluster of one node --------------------------------------------------------------------------------------
work=$(mktemp -d "$PWD/target/slurm/run.XXXXXX")
[ ${#work} -lt 85 ] || { rmdir "$work"; die "'$work' is too long a path for sockets"; }
daemons=()

# Processes whose environment holds our configuration: daemons, steps, and what they run.
ours() {
    local file
    for file in $(grep -lszxF "SLURM_CONF=$work/slurm.conf" /proc/[0-9]*/environ || true); do
        file=${file#/proc/}
        [ "${file%/environ}" = $$ ] || echo "${file%/environ}"
    done
}

clean_up() {
    local status=$? name
    trap '' INT TERM HUP PIPE
    trap - EXIT
    set +e
    if [ "$status" != 0 ]; then
        for name in ctld.log d.log munged.log submitted squeue; do
            [ ! -s "$work/$name" ] || { echo "--- $name"; tail -n 25 "$work/$name"; } >&2
        done
        for name in "$work"/job/log/*; do
            [ ! -s "$name" ] || { echo "--- $name"; tail -n 15 "$name"; } >&2
        done
    fi
    [ ${#daemons[@]} = 0 ] || kill "${daemons[@]}" 2>/dev/null
    for _ in 1 2 3 4 5 6; do
        name=$(ours)
        [ -n "$name" ] || break
        sleep 0.5
    done
    # shellcheck disable=SC2046 # a list of ids
    kill -KILL $(ours) 2>/dev/null
    wait
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE # whoever reads what it says has ended

read -r port_ctld port_d < <(python3 -c '
import socket
sockets = [socket.socket() for _ in range(2)]
for s in sockets: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))')
name=$(uname -n)
name=${name%%.*}
cores=$(nproc)
mkdir "$work/state" "$work/spool"
cat >"$work/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$port_ctld
SlurmdPort=$port_d
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge
PluginDir=$plugins
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/ctld.pid
SlurmdPidFile=$work/d.pid
SlurmctldLogFile=$work/ctld.log
SlurmdLogFile=$work/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
ReturnToService=2
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$cores RealMemory=4096 State=UNKNOWN
PartitionName=all Nodes=$name Default=YES MaxTime=INFINITE State=UP
CONF
version=$("$slurmctld" -V | grep -o '[0-9][0-9.]*$')
if [ "$(printf '%s\n' 23.11 "$version" | sort -V | head -n1)" = 23.11 ]; then
    echo 'CgroupPlugin=disabled' >"$work/cgroup.conf"
fi
export SLURM_CONF=$work/slurm.conf

# wait_for <what> <seconds> <command>...: until the command succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + $2)) process
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || die "$what: it takes too long"
        for process in "${daemons[@]}"; do kill -0 "$process" 2>/dev/null || die "a daemon of Slurm has ended"; done
        sleep 0.1
    done
}

head -c 1024 /dev/urandom >"$work/munge.key"
chmod 600 "$work/munge.key"
chmod 755 "$work"
"$munged" --foreground --force --socket="$work/munge" --key-file="$work/munge.key" --pid-file="$work/munged.pid" \
    --seed-file="$work/munged.seed" --log-file="$work/munged.log" >/dev/null 2>&1 &
daemons+=($!)
wait_for munged 30 test -S "$work/munge"
"$slurmctld" -D -i -f "$SLURM_CONF" >/dev/null 2>&1 &
daemons+=($!)
"$slurmd" -D -f "$SLURM_CONF" -N "$name" -d "$slurmstepd" >/dev/null 2>&1 &
daemons+=($!)
is_idle() { [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; }
wait_for "a node" 60 is_idle
say "Slurm $version is running on $name, ports $port_ctld and $port_d of 127.0.0.1"

# --- a film in parts --------------------------------------------------------------------------------------------
nst() { "$NST_STREAM" --quiet "$@"; }
same=(-m mosaic-lite --scale 0.5 --quality 100 --steady 0)
ffmpeg -v error -nostdin -i tests/data/carphone_pristine.mp4 -f lavfi -i sine=d=4 -t 4 -c:v libx264 -preset ultrafast -c:a aac "$work/film.mp4"
nst split "$work/film.mp4" "${same[@]}" --parts 4 --output "$work/job"

# submit <output> <options>...: the scripts as they are; $array and $join are their jobs.
submit() {
    packaging/slurm/submit.sh "$@" -- --cpus-per-task=1 --mem=1G >"$work/submitted" || return
    say "$(cat "$work/submitted")"
    array=$(sed -n 's/^parts: job \([0-9]*\),.*/\1/p' "$work/submitted")
    join=$(sed -n 's/.*; join: job \([0-9]*\);.*/\1/p' "$work/submitted")
}
# field <job> <name>: of what Slurm knows about it.
field() { scontrol show job -o "$1" | sed -n "s/.* $2=\([^ ]*\).*/\1/p"; }
is_over() {
    squeue -h -o '%i %T %r' >"$work/squeue"
    # A job that is queued again waits for a while; here it need not.
    if [ "$(field "${array}_1" Reason)" = BeginTime ]; then scontrol update "JobId=${array}_1" StartTime=now; fi
    [[ $(field "$join" JobState) = @(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|OUT_OF_MEMORY) ]]
}
completes() {
    wait_for "the join" 600 is_over
    [ "$(field "$join" JobState)" = COMPLETED ] || die "the join: $(field "$join" JobState), $(field "$join" Reason)"
}

submit --at-once 2 "$work/job" "$work/joined.mp4"
# Part 1 is held as soon as its file is there, so that it cannot be finished when it is killed.
painter=''
hold() {
    local file words files
    painter=''
    for file in /proc/[0-9]*/cmdline; do
        mapfile -d '' -t words 2>/dev/null <"$file" || continue
        [ "${words[*]:0:5}" != "$NST_STREAM part $work/job --index 1" ] || painter=${file//[!0-9]/}
    done
    [ -n "$painter" ] && kill -STOP "$painter" || return 1
    files=$(find "$work/job" -name '*part-00001*partial*' -size +0)
    [ -z "$files" ] || return 0
    kill -CONT "$painter"
    return 1
}
wait_for "part 1" 300 hold
nst status "$work/job" | grep -q '^1 .*begun' || die "part 1 is not in work: $(nst status "$work/job")"
kill -KILL "$painter"
say "part 1 was killed (process $painter)"
completes
[ "$(field "${array}_1" Restarts)" = 1 ] || die "part 1 was not queued again: $(scontrol show job -o "${array}_1")"
grep -q 'part 1 failed .* with code 137: queued again' "$work/job/log/part-1.log" || die "the log says nothing of it"
nst status "$work/job"

say "the same in a single run"
nst -i "$work/film.mp4" -o "$work/one.mp4" "${same[@]}"
frames() { ffmpeg -v error -nostdin -i "$1" -map 0 -c:a copy -f framemd5 - >"$1.frames"; }
frames "$work/joined.mp4"
frames "$work/one.mp4"
[ "$(grep -c '^0,' "$work/one.mp4.frames")" = 120 ] || die "the single run has another number of frames than 120"
diff "$work/one.mp4.frames" "$work/joined.mp4.frames" || die "the joined film is not that of a single run"
say "the joined film has the 120 frames of a single run, and its sound"

# --- with a GPU, which this cluster has not ----------------------------------------------------------------------
if submit --gpu "$work/job" "$work/none.mp4" 2>"$work/refused"; then die "no GPU was asked for"; fi
grep -q 'configuration is not available' "$work/refused" || die "$(cat "$work/refused")"
is_over
[ -z "$(cat "$work/squeue")" ] || die "jobs are left: $(cat "$work/squeue")"
say "with --gpu a GPU is asked for"

# --- a part that cannot be painted: the join must not run ---------------------------------------------------------
printf x >>"$work/film.mp4"
nst part "$work/job" --index 0 --again 2>/dev/null && die "a changed film was painted"
NST_RETRIES=0 submit "$work/job" "$work/none.mp4"
wait_for "the join" 300 is_over
[ "$(field "$join" JobState)" = CANCELLED ] || die "the join ran although a part failed: $(field "$join" JobState)"
[ ! -e "$work/none.mp4" ] || die "a film was joined although a part failed"
say "after a part that failed the join was cancelled"

# --- styles -----------------------------------------------------------------------------------------------------
mkdir "$work/styles" "$work/photos" "$work/models"
ffmpeg -v error -nostdin -f lavfi -i testsrc2=s=96x96 -frames:v 1 "$work/styles/one.png"
ffmpeg -v error -nostdin -f lavfi -i mandelbrot=s=96x96 -frames:v 1 "$work/styles/two.jpg"
ffmpeg -v error -nostdin -f lavfi -i testsrc=s=96x96:d=0.12 "$work/photos/%d.png"
join=$(sbatch --parsable --array=0-1 --cpus-per-task=1 --mem=1G --output="$work/job/log/train-%a.log" \
    packaging/slurm/train.sbatch "$work/styles" "$work/photos" "$work/models" \
    --steps 1 --batch 1 --image-size 32 --style-size 64 --arch lite --width 4 --residual-blocks 1)
array=$join
are_trained() { [ -z "$(squeue -h -j "$join" 2>/dev/null)" ]; }
wait_for "the training" 300 are_trained
[ -s "$work/models/one.pt" ] && [ -s "$work/models/two.pt" ] || die "two styles were not trained"
say "two styles were trained"
say "all is well"
