//! `-`: the program between two others.

use std::io::{Read, Write};
use std::process::Child;
use std::time::{Duration, Instant};

use super::*;

/// ffmpeg | nst-stream … | ffmpeg: samples at the end, and the program's exit code and words.
fn between(before: &[&str], args: &[&str]) -> (Vec<u8>, Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    // By value: a command that stays holds its end of a pipe.
    let spawn = |mut command: Command| -> Child {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(carphone()).args(before);
    ffmpeg.args(["-strict", "-1", "-f", "yuv4mpegpipe", "-"]);
    let mut first = spawn(ffmpeg);
    let mut nst = program(folder.path(), &[&["-i", "-", "-o", "-"][..], args].concat());
    nst.stdin(first.stdout.take().unwrap());
    let mut nst = spawn(nst);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "yuv4mpegpipe", "-i", "-", "-f", "rawvideo"]);
    ffmpeg.args(["-fps_mode", "passthrough", "-"]).stdin(nst.stdout.take().unwrap());
    let last = spawn(ffmpeg).wait_with_output().unwrap();
    assert!(last.status.success() && last.stderr.is_empty(), "{}", said(&last));
    let nst = nst.wait_with_output().unwrap();
    first.wait().unwrap();
    assert_eq!(names(folder.path()), Vec::<String>::new(), "it leaves no file");
    (last.stdout, nst.status.code(), said(&nst))
}

/// What ffmpeg alone makes of the clip.
fn plain(args: &[&str]) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(carphone()).args(args);
    output(ffmpeg.args(["-f", "rawvideo", "-"])).stdout
}

#[test]
fn between_two_ffmpegs_every_frame_goes_through_exactly() {
    for (args, format) in [(&["-frames:v", "20"][..], "yuv420p"), (&["-frames:v", "4"], "yuvj420p")]
    {
        let args = [args, &["-pix_fmt", format]].concat();
        let (frames, code, words) = between(&args, &[]);
        assert_eq!(code, Some(0), "{words}");
        assert!(frames == plain(&args), "{format}: {} bytes", frames.len());
        assert!(words.contains("-: "), "the summary goes to stderr: {words}");
    }
}

#[test]
fn a_part_of_what_comes_through_a_pipe_is_taken_by_counting() {
    let (frames, code, words) = between(&["-r", "10"], &["--start", "1", "--duration", "0.5"]);
    assert_eq!(code, Some(0), "{words}");
    let all = plain(&["-r", "10", "-frames:v", "15"]);
    assert!(frames == all[10 * 176 * 144 * 3 / 2..]);
}

#[test]
fn a_pipe_becomes_a_file_and_a_file_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    y4m(&folder.path().join("in.y4m"), 6, &[]);
    let input = std::fs::File::open(folder.path().join("in.y4m")).unwrap();
    let out = output(program(folder.path(), &["-i", "-", "-o", "out.mp4"]).stdin(input));
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert_eq!(common::frame_times(&folder.path().join("out.mp4")).len(), 6);
    let out = output(&mut program(folder.path(), &["-q", "-i", "out.mp4", "-o", "-"]));
    assert_eq!((out.status.code(), said(&out)), (Some(0), String::new()));
    std::fs::write(folder.path().join("raw.y4m"), &out.stdout).unwrap();
    let raw = samples(&folder.path().join("raw.y4m"), "yuv420p");
    assert!(raw == samples(&folder.path().join("out.mp4"), "yuv420p"));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_with_one_line_and_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let clip = carphone();
    let args = ["-q", "-i", clip.to_str().unwrap(), "-o", "-"];
    let mut nst = program(folder.path(), &args);
    let mut nst = nst.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut begin = [0; 50_000];
    nst.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    // Its stdout is closed here.
    let since = Instant::now();
    let out = nst.wait_with_output().unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let words = said(&out);
    assert!(words.lines().count() == 1 && words.contains("has gone away"), "{words}");
}

#[test]
fn a_reader_that_goes_away_ends_the_run_also_while_nothing_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    y4m(&folder.path().join("in.y4m"), 4, &[]);
    let frames = std::fs::read(folder.path().join("in.y4m")).unwrap();
    let mut nst = program(folder.path(), &["-q", "-i", "-", "-o", "-"]);
    nst.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut nst = nst.spawn().unwrap();
    drop(nst.stdout.take());
    // Stays open: more could come.
    let mut stdin = nst.stdin.take().unwrap();
    stdin.write_all(&frames).unwrap();
    let since = Instant::now();
    let code = nst.wait().unwrap().code();
    assert_eq!(code, Some(1));
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    drop(stdin);
}

fn interrupt(child: &Child) {
    let id = child.id().to_string();
    common::succeed(Command::new("kill").args(["-INT", &id]));
}

#[test]
fn ctrl_c_ends_the_waiting_for_a_pipe_and_finishes_what_is_made() {
    let folder = tempfile::tempdir().unwrap();
    y4m(&folder.path().join("in.y4m"), 4, &[]);
    let frames = std::fs::read(folder.path().join("in.y4m")).unwrap();
    for sent in [&[][..], &frames[..20], &frames] {
        let mut nst = program(folder.path(), &["--overwrite", "-i", "-", "-o", "out.mkv"]);
        nst.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut nst = nst.spawn().unwrap();
        let mut stdin = nst.stdin.take().unwrap();
        stdin.write_all(sent).unwrap();
        std::thread::sleep(Duration::from_millis(2000));
        interrupt(&nst);
        let since = Instant::now();
        let out = nst.wait_with_output().unwrap();
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
        assert_eq!(out.status.code(), Some(130), "{} bytes: {}", sent.len(), said(&out));
        let made = folder.path().join("out.mkv");
        assert_eq!(made.exists(), sent.len() > 100, "{}", said(&out));
        drop(stdin);
    }
    assert_eq!(common::frame_times(&folder.path().join("out.mkv")).len(), 4);
}

#[test]
fn what_is_cut_off_or_no_video_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    y4m(&folder.path().join("in.y4m"), 4, &[]);
    let whole = std::fs::read(folder.path().join("in.y4m")).unwrap();
    let size = b"YUV4MPEG2 W30000 H17000 F25:1 C444p16\nFRAME\nabc";
    for (bytes, words, left) in [
        (&b""[..], "it is empty", 0),
        (b"this is no video", "not YUV4MPEG2", 0),
        (b"YUV4MPEG2 W999999999 H999999999 F25:1\nFRAME\n", "are not supported", 0),
        (size, "in the middle of frame 1", 0),
        (b"YUV4MPEG2 W16 H16\n", "no frame", 0),
        (&whole[..100_000], "in the middle of frame 3", 2),
        (&[&whole[..], b"rubbish\n"].concat(), "what follows frame 4", 4),
    ] {
        std::fs::write(folder.path().join("bytes"), bytes).unwrap();
        let input = std::fs::File::open(folder.path().join("bytes")).unwrap();
        let out = output(program(folder.path(), &["-q", "-i", "-", "-o", "out.mkv"]).stdin(input));
        let line = said(&out);
        assert_eq!(out.status.code(), Some(1), "{line}");
        assert!(line.lines().count() == 1 && line.contains(words), "{line}");
        let partial = folder.path().join("out.partial.mkv");
        assert_eq!(partial.exists(), left > 0, "{line}");
        if left > 0 {
            assert_eq!(common::frame_times(&partial).len(), left);
            std::fs::remove_file(partial).unwrap();
        }
        assert!(!folder.path().join("out.mkv").exists());
    }
}
