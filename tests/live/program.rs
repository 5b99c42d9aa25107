//! The program while it runs, and its peers.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::nst;

/// Longer than any of these runs takes to begin or to end.
const LIMIT: Duration = Duration::from_secs(90);

/// A run; killed when dropped.
pub struct Live {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reads: Option<std::thread::JoinHandle<()>>,
}

pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// One line that names `what`, exit code 1, and nothing broke down.
    pub fn is_refused(&self, what: &str) {
        let said = &self.stderr;
        assert_eq!(self.code, Some(1), "{what}: {said}");
        let lines: Vec<_> = said.lines().filter(|l| l.starts_with("nst-stream: ")).collect();
        assert_eq!(lines.len(), 1, "{what}: {said}");
        assert!(lines[0].contains(what), "{what}: {said}");
        for bad in ["panicked", "CRITICAL", "WARNING **"] {
            assert!(!said.contains(bad), "{what}: {said}");
        }
    }
}

impl Live {
    pub fn start(args: &[&str]) -> Self {
        Self::with_model("mosaic", args)
    }

    /// With this model, where it matters which one paints.
    pub fn with_model(model: &str, args: &[&str]) -> Self {
        Self::spawn(nst().args(["-m", model]).args(args))
    }

    /// With these variables in its environment.
    pub fn with_environment(variables: &[(&str, &str)], args: &[&str]) -> Self {
        Self::with_model_and_environment("mosaic", variables, args)
    }

    /// With this model, and these variables in its environment.
    pub fn with_model_and_environment(
        model: &str,
        variables: &[(&str, &str)],
        args: &[&str],
    ) -> Self {
        Self::spawn(nst().envs(variables.iter().copied()).args(["-m", model]).args(args))
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// With an RTSP server on a free port as output.
    pub fn serve(args: &[&str]) -> Self {
        Self::start(&[args, &["-o", "rtsp://127.0.0.1:0/art"]].concat())
    }

    pub fn on(screen: &Screen, args: &[&str]) -> Self {
        Self::spawn(nst().env("DISPLAY", &screen.name).args(["-m", "mosaic"]).args(args))
    }

    /// No file of it may grow beyond so many blocks of 512 bytes.
    pub fn with_file_limit(blocks: u32, args: &[&str]) -> Self {
        // What would end it is a signal, where it is not ignored; then writing fails.
        let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let program = nst().get_program().to_owned();
        let mut command = Command::new("sh");
        command.env_remove("DISPLAY").args(["-c", &limited, "sh"]).arg(program);
        Self::spawn(command.args(["-m", "mosaic"]).args(args))
    }

    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (text, pipe) = (Arc::clone(&stderr), child.stderr.take().unwrap());
        let reads = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                *text.lock().unwrap() += &(line + "\n");
            }
        });
        Live { child, stderr, reads: Some(reads) }
    }

    /// The address that it says it serves.
    pub fn served(&self) -> String {
        self.told("serving ")
    }

    /// What it says behind this beginning of a line.
    pub fn told(&self, beginning: &str) -> String {
        let started = Instant::now();
        loop {
            let said = self.stderr.lock().unwrap().clone();
            if let Some(rest) = said.lines().find_map(|l| l.strip_prefix(beginning)) {
                return rest.trim().to_owned();
            }
            assert!(started.elapsed() < LIMIT, "no line '{beginning}…': {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn interrupt(self) -> Ended {
        self.signal("INT");
        self.wait()
    }

    pub fn signal(&self, name: &str) {
        // The shell's own kill: a bare system has no other.
        let kill = format!("kill -{name} {}", self.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits until it has said this, for so many seconds at most.
    pub fn until_said(&self, words: &str, most: u64) {
        let started = Instant::now();
        while !self.said().contains(words) {
            let waited = started.elapsed();
            assert!(waited < Duration::from_secs(most), "not a word of '{words}': {}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until it has said this so often.
    pub fn until_said_times(&self, words: &str, times: usize) {
        let started = Instant::now();
        while self.said().matches(words).count() < times {
            assert!(started.elapsed() < LIMIT, "not {times} times '{words}': {}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn wait(mut self) -> Ended {
        let started = Instant::now();
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < LIMIT, "no end: {}", self.stderr.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        };
        self.reads.take().unwrap().join().unwrap();
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let stderr = self.stderr.lock().unwrap().clone();
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `codec,kind` of every stream that ffprobe sees.
pub fn ffprobe_streams(url: &str, transport: &str) -> String {
    let out = Command::new("timeout")
        .args(["60", "ffprobe", "-v", "error", "-rtsp_transport", transport])
        .args(["-show_entries", "stream=codec_name,codec_type", "-of", "csv=p=0", url])
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An ffmpeg that decodes so many frames over TCP.
pub fn ffmpeg_client(url: &str, frames: usize) -> Child {
    Command::new("timeout")
        .args(["-k", "5", "90", "ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp"])
        .args(["-i", url, "-an", "-frames:v", &frames.to_string()])
        .args(["-fps_mode", "passthrough", "-f", "framecrc", "-"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// How many frames the client decoded.
pub fn frames_of(client: Child) -> usize {
    let out = client.wait_with_output().unwrap();
    String::from_utf8_lossy(&out.stdout).lines().filter(|l| !l.starts_with('#')).count()
}

pub fn ffmpeg_frames(url: &str, frames: usize) -> usize {
    frames_of(ffmpeg_client(url, frames))
}

pub fn can_watch(url: &str) -> bool {
    ffmpeg_frames(url, 1) == 1
}

/// An X server without a screen.
pub struct Screen {
    server: Child,
    pub name: String,
}

impl Screen {
    pub fn start() -> Self {
        let mut server = Command::new("Xvfb")
            // Without -noreset it starts anew whenever the last client goes, and refuses meanwhile.
            .args(["-displayfd", "1", "-noreset", "-screen", "0", "640x480x24"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        Screen { server, name: format!(":{}", number.trim()) }
    }

    /// Waits until something bright is on the screen.
    pub fn wait_for_picture(&self, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            let shot = Command::new("import")
                .env("DISPLAY", &self.name)
                .args(["-window", "root", "-depth", "8", "gray:-"])
                .output()
                .unwrap();
            if shot.stdout.iter().filter(|v| **v > 200).count() > 500 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        false
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
