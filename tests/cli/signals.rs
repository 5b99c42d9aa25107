//! Runs that are stopped on the way.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::common::{
    bikes, bunny, ffmpeg, frame_times, index_in_front, nst, stream_field, succeed,
};
use super::files;
use super::shim::Hold;

/// A folder with `film.mp4`: a clip four times over, so that no machine is done with it too soon.
fn film_of(clip: PathBuf) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("film.mp4");
    let (clip, film) = (clip.to_str().unwrap(), film.to_str().unwrap());
    ffmpeg(&["-stream_loop", "3", "-i", clip, "-c", "copy", film]);
    folder
}

fn start(folder: &Path, output: &str, more: &[&str]) -> Child {
    spawn(command(folder, output).args(more))
}

fn command(folder: &Path, output: &str) -> Command {
    let mut command = nst();
    command.current_dir(folder).args(["-m", "mosaic", "-i", "film.mp4", "-o", output]);
    command
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads what is said until it holds `words`.
fn until_said(stderr: &mut impl BufRead, said: &mut String, words: &str) {
    while !said.contains(words) {
        assert_ne!(stderr.read_line(said).unwrap(), 0, "no '{words}': {said}");
    }
}

fn signal(child: &Child, name: &str) {
    // The shell's own kill: a bare system has no other.
    succeed(Command::new("sh").args(["-c", &format!("kill {name} {}", child.id())]));
}

/// Waits until `there` of the bytes of a file; fails when the run ends before that.
fn wait_for(child: &mut Child, path: &Path, there: impl Fn(&[u8]) -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !fs::read(path).is_ok_and(|bytes| there(&bytes)) {
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
        assert!(Instant::now() < until, "'{}' does not grow", path.display());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Told to stop after its first progress line, it must finish `output` and leave nothing else.
fn finishes(folder: &Path, output: &str, name: &str) {
    let mut child = start(folder, output, &["--scale", "0.3"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // Progress goes to stderr in plain lines when that is no terminal: "7/528 frames, 1.2 fps, …".
    let progress = lines.find(|line| line.contains(" frames, ")).unwrap();
    assert!(progress.contains(" fps, ") && progress.ends_with(" left"), "{progress}");
    let of: u64 = progress.split(['/', ' ']).nth(1).unwrap().parse().unwrap();
    assert!((525..535).contains(&of), "{progress}");
    signal(&child, name);
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said:#?}");
    assert!(said.last().unwrap().starts_with(&format!("{output}: ")), "{said:#?}");
    assert!(said.iter().any(|line| line.contains("interrupted")), "{said:#?}");

    let left: Vec<String> = files(folder).into_keys().collect();
    assert_eq!(left, ["film.mp4", output]);
    let times = frame_times(&folder.join(output));
    let said_frames = format!("{output}: {} frames ", times.len());
    assert!(said.last().unwrap().starts_with(&said_frames), "{} frames: {said:#?}", times.len());
    assert!(!times.is_empty() && times.len() < 500, "{} frames", times.len());
    let end = times.last().unwrap() + 0.04;
    let packets = succeed(
        Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "a:0", "-of", "csv=p=0"])
            .args(["-show_entries", "packet=pts_time,duration_time"])
            .arg(folder.join(output)),
    );
    let sound = packets.lines().last().unwrap().trim_end_matches(',');
    let (begin, length) = sound.split_once(',').unwrap();
    let sound = begin.parse::<f64>().unwrap() + length.parse::<f64>().unwrap();
    // A packet of sound is 21 ms long.
    assert!((sound - end).abs() < 0.05, "the picture ends at {end} s, the sound at {sound} s");
}

#[test]
fn ctrl_c_finishes_the_output_and_exits_with_130() {
    let folder = film_of(bunny());
    finishes(folder.path(), "out.mp4", "-INT");
}

#[test]
fn being_asked_to_terminate_is_like_ctrl_c() {
    let folder = film_of(bunny());
    finishes(folder.path(), "out.mkv", "-TERM");
}

/// In the middle of the work, when the threads of decoder, network and encoder are busy with what
/// an orderly end of the process would take away from under them.
#[test]
fn a_second_ctrl_c_stops_at_once() {
    let folder = film_of(bunny());
    for name in ["one.mp4", "two.mp4", "three.mp4"] {
        // Batches that take seconds on any machine: an orderly end must not come before the second.
        let mut child = start(folder.path(), name, &["--batch", "8", "--precision", "fp32"]);
        at_work(&mut child);
        // Two signals that come together are one to the system, so the second waits for the first.
        signal(&child, "-INT");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        until_said(&mut stderr, &mut said, "interrupt again to stop at once");
        // One that comes right behind it is the same request: `timeout` sends two.
        signal(&child, "-INT");
        thread::sleep(Duration::from_millis(400));
        assert!(child.try_wait().unwrap().is_none(), "it took one request for two");
        signal(&child, "-INT");
        let status = child.wait().unwrap();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(130), "{status}: {said}");
        assert!(said.contains("stopped at once"), "{said}");
        assert!(!folder.path().join(name).exists());
    }
}

/// Waits until the process has computed for 1.5 s: starting takes less than half of it.
fn at_work(child: &mut Child) {
    let stat = format!("/proc/{}/stat", child.id());
    loop {
        assert!(child.try_wait().unwrap().is_none(), "the run was over too soon");
        let stat = fs::read_to_string(&stat).unwrap();
        // Behind the name in brackets: state is field 3, user and system ticks are 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        if ticks > 150 {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// No chance to finish anything: what lies on the disk must do.
fn killed(output: &str, partial: &str, there: impl Fn(&[u8]) -> bool) {
    let folder = film_of(bikes());
    let mut child = start(folder.path(), output, &["--scale", "0.1"]);
    let partial = folder.path().join(partial);
    wait_for(&mut child, &partial, there);
    signal(&child, "-KILL");
    assert_eq!(child.wait().unwrap().code(), None, "a signal ended it");
    assert!(!folder.path().join(output).exists());
    let frames = frame_times(&partial).len();
    println!("{frames} frames in '{}'", partial.display());
    assert!((1..1000).contains(&frames), "{frames} frames");
    assert_eq!(stream_field(&partial, "v:0", "codec_name"), "h264");
    ffmpeg(&["-xerror", "-i", partial.to_str().unwrap(), "-frames:v", "1", "-f", "null", "-"]);
}

#[test]
fn a_killed_run_leaves_a_playable_mp4_under_its_partial_name() {
    // A fragment begins: the index of the first is complete.
    killed("out.mp4", "out.partial.mp4", |bytes| bytes.windows(4).any(|w| w == b"moof"));
}

#[test]
fn a_killed_run_leaves_a_playable_mkv_under_its_partial_name() {
    killed("out.mkv", "out.partial.mkv", |bytes| bytes.len() > 100_000);
}

/// A run of a short film that is held up where its index goes to the front.
fn held_at_the_index(hold: &Hold, folder: &Path) -> (Child, BufReader<ChildStderr>) {
    let (clip, film) = (bikes(), folder.join("film.mp4"));
    let (clip, film) = (clip.to_str().unwrap(), film.to_str().unwrap());
    ffmpeg(&["-i", clip, "-frames:v", "20", "-c", "copy", film]);
    let mut command = command(folder, "out.mp4");
    hold.holds(command.args(["--scale", "0.1"]));
    let mut child = spawn(&mut command);
    wait_for(&mut child, &folder.join("out.partial-2.mdat"), |_| true);
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

#[test]
fn ctrl_c_while_the_index_is_moved_lets_that_be_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (hold, mut said) = (Hold::at(".mdat"), String::new());
    let (mut child, mut stderr) = held_at_the_index(&hold, folder.path());
    // How far it is, is said every few seconds.
    until_said(&mut stderr, &mut said, "moving the index of 'out.mp4' to the front: 0 %");
    signal(&child, "-INT");
    until_said(&mut stderr, &mut said, "interrupt again to stop at once");
    hold.lets_go();
    let status = child.wait().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    let left: Vec<String> = files(folder.path()).into_keys().collect();
    assert_eq!(left, ["film.mp4", "out.mp4"], "{said}");
    assert!(index_in_front(&folder.path().join("out.mp4")));
}

#[test]
fn a_second_ctrl_c_while_the_index_is_moved_leaves_the_whole_file_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (hold, mut said) = (Hold::at(".mdat"), String::new());
    let (mut child, mut stderr) = held_at_the_index(&hold, folder.path());
    signal(&child, "-INT");
    until_said(&mut stderr, &mut said, "interrupt again to stop at once");
    // Closer together they would be one request.
    thread::sleep(Duration::from_millis(400));
    signal(&child, "-INT");
    let status = child.wait().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("'out.mp4' is complete; its index is at its end"), "{said}");
    let left: Vec<String> = files(folder.path()).into_keys().collect();
    assert_eq!(left, ["film.mp4", "out.mp4"], "{said}");
    assert_eq!(frame_times(&folder.path().join("out.mp4")).len(), 20);
}

/// An input of which nothing comes: a pipe that stays open.
#[test]
fn ctrl_c_ends_a_run_that_waits_for_its_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = nst();
    command.current_dir(folder.path()).args(["-m", "mosaic", "-i", "-", "-o", "out.mkv"]);
    let mut child = spawn(command.stdin(Stdio::piped()));
    let _writer = child.stdin.take().unwrap();
    waits_for_a_header(&mut child);
    signal(&child, "-INT");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("before the first frame"), "{said}");
    assert!(files(folder.path()).is_empty(), "{said}");
}

/// Waits until the thread that reads the header of raw video runs.
fn waits_for_a_header(child: &mut Child) {
    let reads = |id: u32| {
        let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
        let names =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        names.into_iter().any(|name| name.trim() == "header")
    };
    while !reads(child.id()) {
        assert_eq!(child.try_wait().unwrap(), None, "it ended before it read anything");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_named_pipe_is_refused_in_words_and_nobody_waits_for_its_writer() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["film.mp4", "film.y4m"] {
        succeed(Command::new("mkfifo").arg(folder.path().join(name)));
        let mut command = nst();
        command.current_dir(folder.path()).args(["-m", "mosaic", "-i", name, "-o", "out.mkv"]);
        let made = command.output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert_eq!(made.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains("is a named pipe") && said.contains("--input -"), "{name}: {said}");
        assert!(!folder.path().join("out.mkv").exists(), "{name}: {said}");
    }
}
