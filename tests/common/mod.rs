//! What several tests need: clips, and what ffprobe and ffmpeg say of files.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of tests/data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Big Buck Bunny: 1280×720, 25 fps, 132 frames, AAC 5.1.
pub fn bunny() -> PathBuf {
    data("bigbuckbunny.mp4")
}

/// Real footage: 640×272, 25 fps, 250 frames, no sound.
pub fn bikes() -> PathBuf {
    data("bikes.mp4")
}

/// 176×144, 30000/1001 fps, 120 frames, no sound.
pub fn carphone() -> PathBuf {
    data("carphone_pristine.mp4")
}

/// The program under test.
pub fn nst() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nst-stream"));
    command.env_remove("DISPLAY");
    command
}

/// Runs to the end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
}

/// Runs to the end, which must be a success; its stdout.
pub fn succeed(command: &mut Command) -> String {
    let out = output(command);
    let [stdout, stderr] = [&out.stdout, &out.stderr].map(|said| String::from_utf8_lossy(said));
    assert!(out.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", out.status);
    String::from_utf8(out.stdout).unwrap()
}

/// ffmpeg with these arguments (quiet, overwriting).
pub fn ffmpeg(args: &[&str]) {
    succeed(Command::new("ffmpeg").args(["-v", "error", "-y", "-nostdin"]).args(args));
}

fn ffprobe(path: &Path, args: &[&str]) -> Vec<String> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "csv=p=0"]).args(args).arg(path);
    let lines = succeed(&mut command);
    lines.lines().map(|l| l.trim_end_matches(',').to_owned()).filter(|l| !l.is_empty()).collect()
}

/// Presentation times of all decoded video frames, in seconds.
pub fn frame_times(path: &Path) -> Vec<f64> {
    let args = ["-select_streams", "v:0", "-show_entries", "frame=pts_time"];
    ffprobe(path, &args).iter().map(|l| l.split(',').next().unwrap().parse().unwrap()).collect()
}

/// `field` of the first stream of this kind (`v:0`, `a:0`).
pub fn stream_field(path: &Path, stream: &str, field: &str) -> String {
    let entries = format!("stream={field}");
    let lines = ffprobe(path, &["-select_streams", stream, "-show_entries", &entries]);
    lines.first().cloned().unwrap_or_default()
}

/// Width and height.
pub fn size(path: &Path) -> (usize, usize) {
    let get = |field| stream_field(path, "v:0", field).parse().unwrap();
    (get("width"), get("height"))
}

/// Hash of the packets of an audio stream, and how many there are.
pub fn audio_packets(path: &Path, stream: &str) -> (String, usize) {
    let map = format!("0:{stream}");
    let mut hash = Command::new("ffmpeg");
    hash.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    hash.args(["-map", &map, "-c", "copy", "-f", "streamhash", "-hash", "sha256", "-"]);
    let args = ["-select_streams", stream, "-show_entries", "packet=size"];
    (succeed(&mut hash), ffprobe(path, &args).len())
}

/// Decodes to packed RGB frames (ffmpeg's conversion), at most `count`.
pub fn rgb_frames(path: &Path, count: usize) -> Vec<Vec<u8>> {
    let (width, height) = size(path);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path).args(["-frames:v"]);
    command.arg(count.to_string()).args(["-sws_flags", "accurate_rnd+full_chroma_int+bilinear"]);
    command.args(["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]);
    let out = output(&mut command);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.chunks_exact(width * height * 3).map(<[u8]>::to_vec).collect()
}

/// The planes of a 4:2:0 frame.
pub struct Yuv {
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

/// Decodes to 4:2:0 planes, as they are in the file; the sides must be even.
pub fn yuv_frames(path: &Path) -> Vec<Yuv> {
    let (width, height) = size(path);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    command.args(["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
    let out = output(&mut command);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let (luma, chroma) = (width * height, width * height / 4);
    let planes = |frame: &[u8]| Yuv {
        y: frame[..luma].to_vec(),
        u: frame[luma..luma + chroma].to_vec(),
        v: frame[luma + chroma..].to_vec(),
    };
    out.stdout.chunks_exact(luma + 2 * chroma).map(planes).collect()
}

/// Peak signal-to-noise ratio in dB of two pictures of 8-bit samples.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len(), "pictures of different sizes");
    let square = |(a, b): (&u8, &u8)| (f64::from(*a) - f64::from(*b)).powi(2);
    let mse = a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64;
    10.0 * (255.0 * 255.0 / mse.max(1e-10)).log10()
}

/// Whether the index of an MP4 (moov) stands before its data (mdat).
pub fn index_in_front(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    let find = |name: &[u8]| bytes.windows(4).position(|w| w == name).unwrap_or(usize::MAX);
    find(b"moov") < find(b"mdat")
}

/// Marks the picture of an MP4 as to be shown turned clockwise, by 90, 180 or 270 degrees, as phones do:
/// in the matrix of its first track. (ffmpeg before version 7 does so at `-metadata rotate`, from then
/// on at `-display_rotation`.)
pub fn turn(path: &Path, degrees: u32) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(4).position(|w| w == b"tkhd").unwrap() + 4;
    assert_eq!(bytes[at], 0, "the short form of the header");
    let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (width, height) = (side(at + 76), side(at + 80));
    let (one, minus) = (1 << 16, -(1i32 << 16) as u32);
    // a, b, 0; c, d, 0; x, y, 1
    let matrix: [u32; 9] = match degrees {
        90 => [0, one, 0, minus, 0, 0, height, 0, 1 << 30],
        180 => [minus, 0, 0, 0, minus, 0, width, height, 1 << 30],
        270 => [0, minus, 0, one, 0, 0, 0, width, 1 << 30],
        other => panic!("{other} degrees"),
    };
    for (n, value) in matrix.iter().enumerate() {
        bytes[at + 40 + 4 * n..][..4].copy_from_slice(&value.to_be_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}
