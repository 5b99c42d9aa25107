//! Files broken at random, through the real program: it may refuse them or make the best of them,
//! but it must say so, in time, and leave nothing half-made under the final name.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// Broken files of each kind; the same every time.
const EACH: u64 = 34;
/// Longer than any of them takes on a busy machine; a hang takes for ever.
const LIMIT: Duration = Duration::from_secs(60);

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// The file with some of its bytes changed, moved, missing or double.
fn broken(whole: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(3) {
        let length = bytes.len();
        let at = match random.below(2) {
            // Where the description of the file is, at either end.
            0 => random.below(length.min(2000)),
            _ => random.below(length),
        };
        let end = (at + 1 + random.below(400)).min(length);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes[at..end].fill(0),
            2 => bytes[at..end].fill(0xFF),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            5 => bytes[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8),
            _ => {
                for _ in 0..8 {
                    let place = random.below(length);
                    bytes[place] ^= 1 << random.below(8);
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// Runs the program on a broken file; what was wrong with how it took that.
fn complaint(input: &Path, output: &Path) -> Option<String> {
    let mut run: Command = nst();
    run.arg("-m").arg(data("reference-small.pth")).arg("-i").arg(input).arg("-o").arg(output);
    run.args(["--overwrite", "--strength", "0", "--preset", "ultrafast", "--threads", "1"]);
    let said = input.with_extension("said");
    run.stdout(Stdio::null()).stderr(std::fs::File::create(&said).unwrap());
    let mut run = run.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LIMIT {
            run.kill().unwrap();
            run.wait().unwrap();
            return Some(format!("no end after {LIMIT:?}"));
        }
        thread::sleep(Duration::from_millis(5));
    };
    let said = std::fs::read_to_string(said).unwrap_or_default();
    let made = output.exists();
    let last = said.lines().last().unwrap_or_default();
    match status.code() {
        _ if said.contains("panicked") => Some(format!("a panic: {said}")),
        Some(0) if made => None,
        Some(1) if made => Some(format!("a failure left the final name: {last}")),
        Some(1) if last.starts_with("nst-stream: ") => None,
        _ => Some(format!("{status}, made: {made}: {said}")),
    }
}

#[test]
fn broken_files_are_refused_or_made_the_best_of() {
    let folder = tempfile::tempdir().unwrap();
    let bunny = bunny();
    let small = ["-t", "0.6", "-i", bunny.to_str().unwrap(), "-vf", "scale=96:64", "-ac", "2"];
    let kinds: [(&str, &[&str]); 6] = [
        ("a.mp4", &["-c:v", "libx264", "-movflags", "+faststart"]),
        ("b.mp4", &["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"]),
        ("c.mkv", &["-c:v", "libx264", "-c:a", "aac"]),
        ("d.webm", &["-c:v", "libvpx-vp9", "-c:a", "libopus"]),
        ("e.avi", &["-c:v", "mpeg4", "-c:a", "mp3"]),
        ("f.ts", &["-c:v", "mpeg2video", "-c:a", "mp2"]),
    ];
    let mut cases = Vec::new();
    for (kind, (name, how)) in kinds.into_iter().enumerate() {
        let whole = std::fs::read(made(&folder, name, &[&small[..], how].concat())).unwrap();
        for n in 0..EACH {
            let seed = kind as u64 * 1000 + n;
            let path = folder.path().join(format!("{seed}-{name}"));
            std::fs::write(&path, broken(&whole, seed)).unwrap();
            cases.push(path);
        }
    }
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let complaints: Vec<String> = thread::scope(|scope| {
        let part = cases.len().div_ceil(workers);
        let parts: Vec<_> = cases
            .chunks(part)
            .map(|part| {
                scope.spawn(move || {
                    let check = |input: &PathBuf| {
                        let output = input.with_extension("out.mp4");
                        complaint(input, &output).map(|what| format!("{}: {what}", input.display()))
                    };
                    part.iter().filter_map(check).collect::<Vec<_>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(
        complaints.is_empty(),
        "{} of {}:\n{}",
        complaints.len(),
        cases.len(),
        complaints.join("\n")
    );
}
