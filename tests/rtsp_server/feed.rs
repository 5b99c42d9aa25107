//! A server fed with numbered frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use nst_stream::core::encoding::StreamEncoding;
use nst_stream::core::frame::{Bytes, Frame, Planes};
use nst_stream::media::clock::LiveClock;
use nst_stream::media::rtsp_server::{RtspServer, ServeAddress};
use nst_stream::media::shared_encoder::SharedEncoder;
use nst_stream::media::video::{VideoStream, buffer_from_frame};
use nst_stream::media::{Event, PipelineError, PipelineRole};

pub const WIDTH: usize = 320;
pub const HEIGHT: usize = 240;
const BLOCK: usize = 40;
const BITS: usize = 16;

static MACHINE: RwLock<()> = RwLock::new(());

/// For tests that may run at the same time.
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(|e| e.into_inner())
}

/// For tests that count what the process holds.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(|e| e.into_inner())
}

/// Runs a test in a thread of its own and fails when it takes longer than `seconds`.
pub fn within<T: Send + 'static>(seconds: u64, test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, comes) = channel();
    let thread = std::thread::spawn(move || {
        let result = test();
        let _ = done.send(());
        result
    });
    let late = comes.recv_timeout(Duration::from_secs(seconds));
    if matches!(late, Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
        panic!("the test took longer than {seconds} s");
    }
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Waits until `true`, at most so many seconds.
pub fn until(seconds: u64, what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while !so() {
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What this process holds of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Holding {
    pub threads: usize,
    pub descriptors: usize,
    pub resident_kib: usize,
}

impl Holding {
    pub fn count() -> Self {
        let entries = |path| std::fs::read_dir(path).unwrap().count();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        Holding {
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

/// What this process holds once nothing comes and goes any more. GLib, which keeps idle threads for
/// 15 s, ends them at once from now on.
pub fn settled() -> Holding {
    gst::glib::ThreadPool::set_max_idle_time(1);
    let (mut held, mut since) = (Holding::count(), Instant::now());
    until(60, "threads and descriptors come to rest", || {
        let now = Holding::count();
        if (now.threads, now.descriptors) != (held.threads, held.descriptors) {
            (held, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_secs(1)
    });
    held
}

/// The AAC packets of the clip.
pub fn aac_of_bunny() -> (gst::Caps, Vec<gst::Buffer>) {
    gst::init().unwrap();
    let text = "filesrc name=src ! qtdemux ! audio/mpeg ! aacparse ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/bigbuckbunny.mp4");
    pipeline.by_name("src").unwrap().set_property("location", path);
    let out = pipeline.by_name("out").and_downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut caps, mut packets) = (None, Vec::new());
    while let Ok(sample) = out.pull_sample() {
        caps = sample.caps_owned();
        packets.push(sample.buffer_owned().unwrap());
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (caps.unwrap(), packets)
}

/// A server and a thread that pushes 30 frames a second into it, each with its number.
pub struct Feed {
    pub server: Arc<RtspServer>,
    pub clock: LiveClock,
    pub delays: Arc<Mutex<Vec<Duration>>>,
    pub events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// I420 at 30 frames a second.
pub fn stream() -> VideoStream {
    gst::init().unwrap();
    let caps = format!(
        "video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=30/1,colorimetry=bt709"
    );
    VideoStream::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap()
}

impl Feed {
    pub fn start(address: &ServeAddress) -> Self {
        Self::try_start(address, None).unwrap()
    }

    pub fn try_start(
        address: &ServeAddress,
        audio: Option<&gst::Caps>,
    ) -> Result<Self, PipelineError> {
        let mut feed = Self::silent(address, audio)?;
        feed.begin();
        Ok(feed)
    }

    /// A server that gets no frames yet.
    pub fn silent(
        address: &ServeAddress,
        audio: Option<&gst::Caps>,
    ) -> Result<Self, PipelineError> {
        let (send, events) = channel();
        let (stream, clock) = (stream(), LiveClock::start()?);
        let delays = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&delays);
        let told = Box::new(move |delay| told.lock().unwrap().push(delay));
        let (role, encoding) = (
            PipelineRole::Sink(0),
            StreamEncoding { key_interval: Duration::from_secs(1), bitrate: None },
        );
        let encoder = SharedEncoder::start(role, &stream, &clock, &send, encoding, told)?;
        let encoder = Arc::new(encoder);
        let server = Arc::new(RtspServer::start(address, 0, &encoder, audio, &clock, send)?);
        let stop = Arc::new(AtomicBool::new(false));
        Ok(Feed { server, clock, delays, events, stop, thread: None })
    }

    /// Frames from now on.
    pub fn begin(&mut self) {
        let (server, stop, clock) =
            (Arc::clone(&self.server), Arc::clone(&self.stop), self.clock.clone());
        self.thread = Some(std::thread::spawn(move || {
            let mut due = Instant::now();
            for number in 1.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let mut frame = numbered(number);
                frame.pts = Some(clock.now());
                server.push_frame(&buffer_from_frame(frame).unwrap());
                due += Duration::from_nanos(33_333_333);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }));
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Stops the frames, and drops the server.
    pub fn end(mut self) {
        self.stop_frames();
    }

    pub fn stop_frames(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop_frames();
    }
}

/// A frame with its number in black and white blocks at the bottom, something moving above, and a
/// scene cut every eight frames.
pub fn numbered(number: usize) -> Frame {
    let stream = stream();
    let mut luma = vec![128u8; stream.layout.bytes(WIDTH, HEIGHT)];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let bar = (x + 4 * number) % 80 < 20 || (y + 3 * number) % 60 < 15;
            let light =
                if (number / 8).is_multiple_of(2) { bar } else { (x * y / 64 + number) % 7 < 3 };
            luma[y * WIDTH + x] = if light { 180 } else { 60 };
        }
    }
    for bit in 0..BITS {
        let (left, top) = block(bit);
        let value = if number >> bit & 1 == 1 { 235 } else { 16 };
        for y in top..top + BLOCK {
            luma[y * WIDTH + left..][..BLOCK].fill(value);
        }
    }
    let planes = Planes::I420(Bytes::from(luma));
    Frame { info: stream.frame, planes, pts: None, duration: None }
}

fn block(bit: usize) -> (usize, usize) {
    let columns = WIDTH / BLOCK;
    ((bit % columns) * BLOCK, HEIGHT - BLOCK * (BITS / columns - bit / columns))
}

/// The number in a decoded luma plane; none when a block is neither black nor white.
pub fn number_in(luma: &[u8], stride: usize) -> Option<usize> {
    let mut number = 0;
    for bit in 0..BITS {
        let (left, top) = block(bit);
        match luma[(top + BLOCK / 2) * stride + left + BLOCK / 2] {
            170.. => number |= 1 << bit,
            ..=80 => {}
            _ => return None,
        }
    }
    Some(number)
}
