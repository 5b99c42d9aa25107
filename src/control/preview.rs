//! The picture of a run as small JPEGs, made on a thread of its own while somebody looks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::media::preview::{Preview, PreviewPicture};
use crate::media::video::VideoStream;
use crate::stream::{LiveMonitor, LivePicture};

/// Longest side of a picture, in pixels.
const LONGEST: usize = 960;
/// Quality of JPEG.
const QUALITY: i32 = 80;
/// How long a picture is waited for before the next look at whether to end.
const WAIT: Duration = Duration::from_millis(200);
/// A picture that was made within this time is shown to somebody who begins to look.
const FRESH: Duration = Duration::from_millis(500);
/// How long pairs are made after somebody last asked for one.
const PAIRS_FOR: Duration = Duration::from_millis(1500);

/// A picture for whoever looks.
#[derive(Clone, Default)]
pub(super) struct Shown {
    /// Counts from 1; 0: there is none yet.
    pub number: u64,
    /// What the outputs got.
    pub painted: Arc<[u8]>,
    /// The source on the left, what was painted of it on the right; only if somebody asked for such pairs.
    pub pair: Option<Arc<[u8]>>,
    /// When it was made.
    pub at: Option<Instant>,
}

impl Shown {
    /// Whether it shows what is now, to somebody who asked at `asked`: it may have been made when somebody else last
    /// looked.
    pub fn is_of_now(&self, asked: Instant) -> bool {
        self.at.is_some_and(|at| at >= asked || at.elapsed() < FRESH)
    }
}

/// Makes pictures, and hands them out.
pub(super) struct Previews {
    monitor: LiveMonitor,
    shown: watch::Sender<Shown>,
    /// When a pair was last asked for, in milliseconds after `started`.
    pairs_at: AtomicU64,
    started: Instant,
    ends: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Previews {
    pub fn new(monitor: LiveMonitor) -> Self {
        Previews {
            monitor,
            shown: watch::Sender::new(Shown::default()),
            pairs_at: AtomicU64::new(0),
            started: Instant::now(),
            ends: AtomicBool::new(false),
            thread: Mutex::default(),
        }
    }

    /// Says that somebody looks, and at what; pictures come from the receiver.
    pub fn look(&self, pair: bool) -> watch::Receiver<Shown> {
        if pair {
            let now = self.started.elapsed().as_millis() as u64;
            self.pairs_at.store(now.max(1), Ordering::Relaxed);
        }
        self.monitor.look();
        self.shown.subscribe()
    }

    fn wants_pairs(&self) -> bool {
        let at = self.pairs_at.load(Ordering::Relaxed);
        at > 0 && self.started.elapsed() < Duration::from_millis(at) + PAIRS_FOR
    }

    /// Makes pictures on a thread of its own, until [`end`](Self::end).
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(this: &Arc<super::shared::Shared>) -> std::io::Result<()> {
        let shared = Arc::clone(this);
        let work = move || shared.previews.work();
        let thread = std::thread::Builder::new().name("preview".into()).spawn(work)?;
        *this.previews.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Ends the thread.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Release);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }

    fn work(&self) {
        let mut newest = 0;
        let mut preview: Option<Preview> = None;
        while !self.ends.load(Ordering::Acquire) {
            let Some(picture) = self.monitor.next_picture(newest, WAIT) else { continue };
            newest = picture.number;
            if preview.is_none() {
                preview = self.monitor.stream().and_then(|(_, stream)| made(&stream));
            }
            let Some(preview) = &preview else { continue };
            if let Some(shown) = self.encode(preview, &picture) {
                self.shown.send_replace(shown);
            }
        }
    }

    fn encode(&self, preview: &Preview, picture: &LivePicture) -> Option<Shown> {
        let painted = preview.of(&picture.painted).ok()?;
        let bytes = jpeg(&painted)?.into();
        let mut shown =
            Shown { number: picture.number, painted: bytes, pair: None, at: Some(Instant::now()) };
        if self.wants_pairs() {
            // "no signal" has no source: it is shown on both sides.
            let source = picture.source.as_ref().and_then(|source| preview.of(source).ok());
            shown.pair = Some(jpeg(&pair(source.as_ref().unwrap_or(&painted), &painted))?.into());
        }
        Some(shown)
    }
}

fn made(stream: &VideoStream) -> Option<Preview> {
    Preview::new(stream, LONGEST).inspect_err(|error| tracing::warn!("no preview: {error}")).ok()
}

/// Two pictures of one size side by side.
fn pair(left: &PreviewPicture, right: &PreviewPicture) -> PreviewPicture {
    let row = 3 * left.width;
    let mut rgb = Vec::with_capacity(left.rgb.len() + right.rgb.len());
    for (left, right) in left.rgb.chunks_exact(row).zip(right.rgb.chunks_exact(row)) {
        rgb.extend_from_slice(left);
        rgb.extend_from_slice(right);
    }
    PreviewPicture { width: left.width + right.width, height: left.height, rgb }
}

/// A picture as JPEG; none if it cannot be compressed.
pub(super) fn jpeg(picture: &PreviewPicture) -> Option<Vec<u8>> {
    let image = turbojpeg::Image {
        pixels: picture.rgb.as_slice(),
        width: picture.width,
        pitch: 3 * picture.width,
        height: picture.height,
        format: turbojpeg::PixelFormat::RGB,
    };
    let compressed = turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2);
    compressed.inspect_err(|error| tracing::warn!("no preview: {error}")).ok().map(|b| b.to_vec())
}
