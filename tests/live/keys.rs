//! Keys on a real terminal (a pseudo terminal, opened by `script`, which every Debian has).

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::*;
use crate::program;
use crate::shim::Hold;

/// A program on a terminal of its own.
struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(folder: &std::path::Path, command: &str) -> Self {
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", command, "/dev/null"])
            .current_dir(folder)
            .env_remove("DISPLAY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let screen: Arc<Mutex<String>> = Arc::default();
        let (shown, mut out) = (Arc::clone(&screen), script.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                *shown.lock().unwrap() += &String::from_utf8_lossy(&bytes[..count]);
            }
        });
        let keyboard = script.stdin.take().unwrap();
        Terminal { script, keyboard, screen }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// What is shown from now on must come to hold `text`.
    fn shows(&self, from: usize, text: &str) -> usize {
        let started = Instant::now();
        loop {
            let screen = self.screen.lock().unwrap().clone();
            if let Some(at) = screen[from..].find(text) {
                return from + at + text.len();
            }
            assert!(started.elapsed() < Duration::from_secs(60), "no '{text}' in: {screen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn now(&self) -> usize {
        self.screen.lock().unwrap().len()
    }

    fn ends(mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.script.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(50));
        };
        std::thread::sleep(Duration::from_millis(200));
        (status.code(), self.screen.lock().unwrap().clone())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn digits_step_through_the_models_of_a_region() {
    let folder = tempfile::tempdir().unwrap();
    let mask =
        image::RgbImage::from_fn(96, 64, |x, _| image::Rgb([if x < 48 { 0 } else { 255 }; 3]));
    mask.save(folder.path().join("mask.png")).unwrap();
    let command = format!(
        "{} -m mosaic-lite@black -m none@white -m starry-night-lite --mask mask.png -i test:96x64@15 \
         -o rtsp://127.0.0.1:0/art",
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, "keys: 1-2 next model of a region, +/-");
    terminal.shows(0, " ms, mosaic-lite, held steady");
    for (key, painting) in [
        ("1", " ms, starry-night-lite, held steady"),
        ("2", " ms, mosaic-lite + starry-night-lite, held steady"),
        ("1", " ms, mosaic-lite, held steady"),
    ] {
        let now = terminal.now();
        terminal.press(key);
        terminal.shows(now, painting);
    }
    terminal.press("q");
    assert_eq!(terminal.ends().0, Some(0));
}

#[test]
fn keys_change_the_picture_and_the_client_stays() {
    let folder = tempfile::tempdir().unwrap();
    let second = concat!(env!("CARGO_MANIFEST_DIR"), "/models/mosaic.pt");
    // What the terminal is like afterwards is told by stty.
    let command = format!(
        "{} -m mosaic-lite -m {second} -i test:96x64@15 -o rtsp://127.0.0.1:0/art --strength 0.5; \
         code=$?; stty -a; exit $code",
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, "keys: n/p");
    let at = terminal.shows(0, "serving ");
    terminal.shows(at, "/art");
    let screen = terminal.screen.lock().unwrap().clone();
    let url = screen[at..].split_whitespace().next().unwrap().to_owned();
    let client = program::ffmpeg_client(&url, 200);
    terminal.shows(at, ", mosaic-lite at 50 %");

    let after = |terminal: &mut Terminal, keys: &str| {
        let now = terminal.now();
        terminal.press(keys);
        now
    };
    let now = after(&mut terminal, "n");
    terminal.shows(now, "mosaic.pt at 50 %");
    let now = after(&mut terminal, "p");
    terminal.shows(now, ", mosaic-lite at 50 %");
    let now = after(&mut terminal, "--");
    terminal.shows(now, "at 30 %");
    let now = after(&mut terminal, "+");
    terminal.shows(now, "at 40 %");
    let now = after(&mut terminal, "c");
    terminal.shows(now, "colours kept");
    let now = after(&mut terminal, "s");
    let at = terminal.shows(now, "nst-stream-");
    terminal.shows(at, ".png");
    let pictures: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(pictures.len(), 1, "{pictures:?}");
    assert_eq!(size(&pictures[0]), (96, 64));

    // All the while the same client has been watching.
    assert_eq!(program::frames_of(client), 200);
    let now = after(&mut terminal, "q");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen[now..].contains("frames in"), "{screen}");
    assert!(screen.contains(" icanon") && !screen.contains("-icanon"), "{screen}");
}

#[test]
fn control_c_on_a_terminal_interrupts() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "{} -m mosaic -i test:96x64@15 -o out.mkv --strength 0",
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, " at 0 %");
    terminal.press("\x03");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(130), "{screen}");
    assert!(frame_times(&folder.path().join("out.mkv")).len() > 5);
}

#[test]
fn control_c_is_read_until_the_run_is_over() {
    let folder = tempfile::tempdir().unwrap();
    // A part of it never ends, so that the end of the run is waited for.
    let own = "appsrc name=frames ! fakesink audiotestsrc is-live=true ! fakesink";
    std::fs::write(folder.path().join("own.pipeline"), own).unwrap();
    let command = format!(
        "{} -m mosaic -i test:96x64@15 --pipeline-sink own.pipeline --strength 0",
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, " at 0 %");
    terminal.press("\x03");
    terminal.shows(0, "interrupt again to stop at once");
    // Closer together they would be one request.
    std::thread::sleep(Duration::from_millis(400));
    terminal.press("\x03");
    terminal.shows(0, "stopped at once");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(130), "{screen}");
}

#[test]
fn a_snapshot_is_saved_though_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    let hold = Hold::at(".png");
    let command = format!(
        "env {} {} -m mosaic -i test:96x64@15 -o out.mkv --strength 0",
        hold.in_words(),
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, " at 0 %");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(folder.path()).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    let wait_for = |ending: &str| {
        let started = Instant::now();
        while !names().iter().any(|name| name.ends_with(ending)) {
            assert!(started.elapsed() < Duration::from_secs(60), "no {ending}: {:?}", names());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    terminal.press("s");
    wait_for(".partial.png");
    terminal.press("q");
    wait_for("out.mkv");
    hold.lets_go();
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    let left = names();
    let pictures: Vec<_> = left.iter().filter(|name| name.ends_with(".png")).collect();
    assert_eq!((left.len(), pictures.len()), (2, 1), "{left:?}: {screen}");
    assert!(!pictures[0].contains("partial"), "{left:?}");
    assert_eq!(size(&folder.path().join(pictures[0])), (96, 64));
}

#[test]
fn a_terminal_that_is_closed_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "exec {} -m mosaic-lite -i test:96x64@15 -o out.mkv --strength 0",
        env!("CARGO_BIN_EXE_nst-stream")
    );
    let mut terminal = Terminal::start(folder.path(), &command);
    terminal.shows(0, " at 0 %");
    let id = terminal.script.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    terminal.script.kill().unwrap();
    let run = format!("/proc/{}/stat", children.trim());
    let started = Instant::now();
    // It is gone, or waits for who would ask how it ended.
    while std::fs::read_to_string(&run).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!frame_times(&folder.path().join("out.mkv")).is_empty());
}
