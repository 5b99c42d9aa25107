//! The delay of a live picture, from drawing it to the pixels of a browser on the same machine; and from a change of a
//! setting on the page to the pixels that show it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::driver::{Browser, Driver};
use crate::measure::Effort;
use crate::report::{Goal, Report};
use crate::timecode::{BLOCK_H, BLOCK_W, COLUMNS, HEIGHT, WIDTH, picture};

/// Frames a second that are drawn.
const FPS: u32 = 15;
/// What is asked of the delay at p50.
const GOAL_MS: f64 = 150.0;
/// The same from a click to the pixels.
const CLICK_GOAL_MS: f64 = 300.0;
/// How often a setting is changed.
const CLICKS: usize = 20;

/// With a network that keeps up; a part of the style is mixed in: the time must still be readable.
pub fn shown(effort: &Effort, report: &mut Report) {
    if Command::new("chromedriver").arg("--version").output().is_err() {
        return eprintln!("delay in a browser: not measured, there is no chromedriver");
    }
    eprintln!("delay in a browser");
    let (mut delays, mut clicks) = read(effort.live_frames);
    delays.sort_unstable_by(f64::total_cmp);
    clicks.sort_unstable_by(f64::total_cmp);
    let of =
        |sorted: &[f64], share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
    let at = |share| of(&delays, share);
    report.row(
        format!("Delay in Chromium (WebRTC), {WIDTH}×{HEIGHT} at {FPS} fps, mosaic-lite: p50"),
        format!(
            "{:.0} ms (p99 {:.0} ms, most {:.0} ms, {} frames; a frame interval is {:.0} ms)",
            at(0.5),
            at(0.99),
            at(1.0),
            delays.len(),
            1000.0 / f64::from(FPS)
        ),
        Goal::Millis(at(0.5), GOAL_MS),
    );
    report.row(
        "From the slider of strength on the page to the pixels in it: p50".to_owned(),
        format!("{:.0} ms (most {:.0} ms, {CLICKS} changes)", of(&clicks, 0.5), of(&clicks, 1.0)),
        Goal::Millis(of(&clicks, 0.5), CLICK_GOAL_MS),
    );
}

/// How old the pictures are that the browser shows, and how long changes of a setting take until they show them, in
/// milliseconds.
fn read(frames: usize) -> (Vec<f64>, Vec<f64>) {
    let folder = tempfile::tempdir().unwrap();
    let (port, epoch) = draw();
    let source = folder.path().join("source.pipeline");
    let text = format!(
        "tcpclientsrc host=127.0.0.1 port={port} do-timestamp=true blocksize={size} \
         ! rawvideoparse width={WIDTH} height={HEIGHT} format=i420 framerate={FPS}/1 \
         ! appsink name=frames",
        size = WIDTH * HEIGHT * 3 / 2
    );
    std::fs::write(&source, text).unwrap();
    let mut program = Program::start(&["--pipeline-source", source.to_str().unwrap()]);
    let link = program.told("control: ");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driver = Driver::start();
        let page = Browser::open(&driver, &link).await;
        page.until("the video", "return !document.getElementById('video').hidden").await;
        let script = format!(
            "const video = document.getElementById('video');\
             const canvas = new OffscreenCanvas({WIDTH}, {HEIGHT});\
             const context = canvas.getContext('2d', {{ willReadFrequently: true }});\
             globalThis.read = [];\
             const frame = () => {{\
                 const now = performance.timeOrigin + performance.now();\
                 context.drawImage(video, 0, 0, {WIDTH}, {HEIGHT});\
                 const data = context.getImageData(0, 0, {WIDTH}, {HEIGHT}).data;\
                 let code = 0;\
                 for (let bit = 0; bit < 20; bit++) {{\
                     const x = (bit % {COLUMNS}) * {BLOCK_W} + {BLOCK_W} / 2;\
                     const y = Math.floor(bit / {COLUMNS}) * {BLOCK_H} + {BLOCK_H} / 2;\
                     if (data[4 * (y * {WIDTH} + x) + 1] > 125) code += 2 ** bit;\
                 }}\
                 read.push([code, now]);\
                 video.requestVideoFrameCallback(frame);\
             }};\
             video.requestVideoFrameCallback(frame);"
        );
        page.run(&script).await;
        let started = Instant::now();
        let most = Duration::from_secs(60 + frames as u64 / 5);
        while page.run("return read.length").await.as_u64().unwrap() < frames as u64 {
            assert!(started.elapsed() < most, "frames do not come");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let Value::Array(read) = page.run("return read").await else { panic!("nothing was read") };
        let clicks = clicks(&page).await;
        page.close().await;
        let pair = |pair: &Value| (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
        let delays = read.iter().map(pair).map(|(code, now)| now - epoch - code);
        // The first pictures come while the connection begins; a picture that is torn says another time.
        let delays: Vec<f64> = delays.skip(frames / 10).collect();
        let whole: Vec<f64> =
            delays.iter().copied().filter(|d| (0.0..10_000.0).contains(d)).collect();
        assert!(
            whole.len() + 2 + frames / 50 >= delays.len(),
            "{} of {}",
            whole.len(),
            delays.len()
        );
        (whole, clicks)
    })
}

/// How long it takes from a change of the strength until the picture shows it, in milliseconds. What is drawn is grey, and
/// what is painted of it is not.
async fn clicks(page: &Browser) -> Vec<f64> {
    let script = format!(
        "const video = document.getElementById('video');\
         const slider = document.getElementById('strength');\
         const context = new OffscreenCanvas({WIDTH}, {HEIGHT}).getContext('2d', {{ willReadFrequently: true }});\
         const colour = () => {{\
             context.drawImage(video, 0, 0, {WIDTH}, {HEIGHT});\
             const data = context.getImageData(0, 0, {WIDTH}, {HEIGHT}).data;\
             let sum = 0;\
             for (let i = 0; i < data.length; i += 64)\
                 sum += Math.abs(data[i] - data[i + 1]) + Math.abs(data[i + 1] - data[i + 2]);\
             return sum / (data.length / 64);\
         }};\
         const set = (value) => {{ slider.value = value; slider.dispatchEvent(new Event('input')); }};\
         const pause = (ms) => new Promise((done) => setTimeout(done, ms));\
         const frame = () => new Promise((done) => video.requestVideoFrameCallback(done));\
         globalThis.clicks = [];\
         (async () => {{\
             set(0); await pause(2000); const grey = colour();\
             set(1); await pause(2000); const middle = (grey + colour()) / 2;\
             for (let n = 0; n < {CLICKS}; n++) {{\
                 set(0); await pause(1200 + 37 * n);\
                 const began = performance.now();\
                 set(1);\
                 while (colour() < middle) await frame();\
                 clicks.push(performance.now() - began);\
             }}\
         }})();"
    );
    page.run(&script).await;
    let started = Instant::now();
    while page.run("return clicks.length").await.as_u64().unwrap() < CLICKS as u64 {
        assert!(started.elapsed() < Duration::from_secs(180), "a change is not seen");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let Value::Array(clicks) = page.run("return clicks").await else { panic!("no times") };
    clicks.iter().map(|took| took.as_f64().unwrap()).collect()
}

/// Draws the time for whoever connects to the port; the time at which the code is zero, in milliseconds of Unix time.
fn draw() -> (u16, f64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let zero = Instant::now();
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut next = Instant::now();
            while stream.write_all(&picture(zero.elapsed().as_millis() as u32)).is_ok() {
                next += Duration::from_secs(1) / FPS;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    });
    (port, epoch)
}

/// Killed when dropped.
struct Program(Child);

impl Program {
    fn start(more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nst-stream"));
        command.args(["--model", "mosaic-lite", "--strength", "0.2", "--steady", "0"]);
        command.args(["--device", "cpu", "--control", "127.0.0.1:0"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Program(command.spawn().unwrap())
    }

    /// What it says behind this beginning of a line.
    fn told(&mut self, beginning: &str) -> String {
        let mut lines = BufReader::new(self.0.stderr.take().unwrap()).lines();
        let found =
            lines.by_ref().find_map(|line| Some(line.ok()?.strip_prefix(beginning)?.to_owned()));
        // What it says later must be read too, or it would wait.
        std::thread::spawn(move || lines.count());
        found.expect("it says it")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
