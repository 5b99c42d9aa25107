//! What a live run shows of itself to somebody who watches it, and what it is asked to do meanwhile.
//!
//! The frame path never waits for whoever watches: pictures are kept while somebody looks at them only, one at a time,
//! the newest; what is asked waits in a short list until the main thread comes round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::core::frame::Frame;
use crate::core::histogram::Histogram;
use crate::core::picture::rgb_frame;
use crate::core::regions::{Color, Mask};
use crate::engine::device::Device;
use crate::media::Buffer;
use crate::media::video::{VideoStream, buffer_from_frame};

/// How long pictures are kept after somebody last asked for one.
const LOOKS_FOR: Duration = Duration::from_millis(1500);
/// Shortest time between two pictures that are kept: 15 a second.
const PICTURE_EVERY: Duration = Duration::from_millis(66);
/// Frames whose way to the outputs is remembered, for the time that outputs take.
const REMEMBERED: usize = 64;
/// Sources that are kept between the network and the outputs: one more than frames can be there.
const SOURCES: usize = 4;
/// Longest side of the picture of a region, in pixels.
const SHAPE_SIZE: usize = 160;
/// Requests that may wait for the main thread.
const REQUESTS: usize = 16;

/// A live run as it is seen and steered from outside. Clones share it.
#[derive(Clone, Default)]
pub struct LiveMonitor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Until when somebody looks, in milliseconds after `started`; 0: nobody has.
    looked_at_until: AtomicU64,
    started: Started,
    between: Mutex<Between>,
    shown: Mutex<Shown>,
    shown_changed: Condvar,
    stages: StageTimes,
    painted: AtomicU64,
    requests: Mutex<VecDeque<LiveRequest>>,
    samples: Mutex<Samples>,
    models: Mutex<Vec<String>>,
    styles: Mutex<Vec<Vec<(String, f32)>>>,
    regions: Mutex<Vec<Region>>,
    stream: Mutex<Option<(String, VideoStream)>>,
    device: Mutex<Option<Device>>,
}

struct Started(Instant);

impl Default for Started {
    fn default() -> Self {
        Started(Instant::now())
    }
}

/// What is known of a frame between the network and the outputs.
#[derive(Default)]
struct Between {
    /// Sources of frames that are being painted or wait for the outputs, with their times.
    sources: VecDeque<(Duration, Frame)>,
    /// When the last picture was kept.
    kept: Option<Instant>,
    /// Times of frames, and how old they were when outputs got them.
    passed: VecDeque<(Duration, Duration)>,
}

#[derive(Default)]
struct Shown {
    number: u64,
    picture: Option<LivePicture>,
}

/// A region of the mask, for whoever chooses what paints it.
struct Region {
    /// Its colour, as the command line names it.
    name: String,
    /// Where it is: white on black.
    shape: Frame,
}

/// Pictures of what each model paints.
#[derive(Default)]
struct Samples {
    /// What they paint.
    of: Option<Frame>,
    painted: Vec<Option<Frame>>,
}

/// The newest picture of a live run.
#[derive(Clone)]
pub struct LivePicture {
    /// Counts from 1.
    pub number: u64,
    /// What the outputs got.
    pub painted: Buffer,
    /// The same frame before it was painted; none for "no signal".
    pub source: Option<Buffer>,
}

/// Times that frames take, stage by stage.
#[derive(Debug, Default)]
pub struct StageTimes {
    /// From capture until the network takes the frame.
    pub capture: Histogram,
    /// In the network, with all that belongs to painting.
    pub network: Histogram,
    /// From there until an output's encoder has it ready.
    pub output: Histogram,
    /// All of it.
    pub total: Histogram,
}

/// What a live run is asked for; the answer is given by calling what it holds.
pub enum LiveRequest {
    /// Record to a new file in the working folder: its name.
    StartRecording(Box<dyn FnOnce(Result<String, String>) + Send>),
    /// Finish that recording: its name.
    StopRecording(Box<dyn FnOnce(Result<String, String>) + Send>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LiveMonitor {
    /// Says that somebody looks at pictures now.
    pub fn look(&self) {
        let until = self.0.started.0.elapsed() + LOOKS_FOR;
        self.0.looked_at_until.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits for a picture newer than number `after`, for so long at most.
    pub fn next_picture(&self, after: u64, most: Duration) -> Option<LivePicture> {
        let shown = lock(&self.0.shown);
        let waits = |shown: &mut Shown| shown.number <= after;
        let waited = self.0.shown_changed.wait_timeout_while(shown, most, waits);
        let (shown, _) = waited.unwrap_or_else(PoisonError::into_inner);
        shown.picture.clone().filter(|picture| picture.number > after)
    }

    /// What frames come from, and what they are like; none before the source is open.
    pub fn stream(&self) -> Option<(String, VideoStream)> {
        lock(&self.0.stream).clone()
    }

    /// Times that frames take.
    pub fn stages(&self) -> &StageTimes {
        &self.0.stages
    }

    /// Frames painted so far.
    pub fn painted(&self) -> u64 {
        self.0.painted.load(Ordering::Relaxed)
    }

    /// Asks the run for something; false if too much waits already.
    pub fn ask(&self, request: LiveRequest) -> bool {
        let mut requests = lock(&self.0.requests);
        let room = requests.len() < REQUESTS;
        if room {
            requests.push_back(request);
        }
        room
    }

    /// Has every model paint this picture once, before the first frame.
    pub fn want_samples(&self, of: Frame) {
        lock(&self.0.samples).of = Some(of);
    }

    /// What a model made of the picture; none if it could not paint it, or has not yet.
    pub fn sample(&self, model: usize) -> Option<Frame> {
        lock(&self.0.samples).painted.get(model).cloned().flatten()
    }

    /// Whether the models have painted their samples.
    pub fn has_samples(&self) -> bool {
        !lock(&self.0.samples).painted.is_empty()
    }

    /// Names of the models, in their order; none before they are known.
    pub fn models(&self) -> Vec<String> {
        lock(&self.0.models).clone()
    }

    /// The styles of a model's network, each with its share in that model; none if it has only one.
    pub fn styles(&self, model: usize) -> Vec<(String, f32)> {
        lock(&self.0.styles).get(model).cloned().unwrap_or_default()
    }

    /// Takes note of the regions of the mask.
    pub fn set_mask(&self, mask: &Mask) {
        let (width, height) = mask.size();
        let factor = SHAPE_SIZE as f64 / width.max(height).max(1) as f64;
        let side = |length: usize| ((length as f64 * factor.min(1.0)).round() as usize).max(1);
        let (width, height) = (side(width), side(height));
        let region = |(color, plane): (&Color, Vec<f32>)| {
            let grey = plane.iter().map(|weight| (255.0 * weight).round() as u8);
            let shape = rgb_frame(width, height, grey.flat_map(|grey| [grey; 3]).collect());
            Region { name: color.to_string(), shape }
        };
        let regions = mask.colors().iter().zip(mask.sized(width, height)).map(region);
        *lock(&self.0.regions) = regions.collect();
    }

    /// The regions of the mask, by their colours, in the order of the command line; none without a mask.
    pub fn regions(&self) -> Vec<String> {
        lock(&self.0.regions).iter().map(|region| region.name.clone()).collect()
    }

    /// A small picture of where a region is, white on black.
    pub fn region_shape(&self, region: usize) -> Option<Frame> {
        lock(&self.0.regions).get(region).map(|region| region.shape.clone())
    }

    pub(super) fn set_styles(&self, of_models: Vec<Vec<(String, f32)>>) {
        *lock(&self.0.styles) = of_models;
    }

    /// Takes note of a model that came while the run goes on.
    pub(super) fn put_model(
        &self,
        number: usize,
        name: String,
        styles: Vec<(String, f32)>,
        sample: Option<Frame>,
    ) {
        fn put<T: Default>(all: &mut Vec<T>, number: usize, one: T) {
            if all.len() <= number {
                all.resize_with(number + 1, T::default);
            }
            all[number] = one;
        }
        put(&mut lock(&self.0.samples).painted, number, sample);
        put(&mut lock(&self.0.styles), number, styles);
        put(&mut lock(&self.0.models), number, name);
    }

    /// Where the network runs; none before it is known.
    pub fn device(&self) -> Option<Device> {
        *lock(&self.0.device)
    }

    pub(super) fn set_device(&self, device: Device) {
        *lock(&self.0.device) = Some(device);
    }

    pub(super) fn set_models(&self, names: &[String]) {
        *lock(&self.0.models) = names.to_vec();
    }

    pub(super) fn began(&self, source: String, stream: &VideoStream) {
        *lock(&self.0.stream) = Some((source, stream.clone()));
    }

    /// What has been asked since the last call.
    pub(super) fn requests(&self) -> Vec<LiveRequest> {
        lock(&self.0.requests).drain(..).collect()
    }

    pub(super) fn take_sample(&self) -> Option<Frame> {
        lock(&self.0.samples).of.take()
    }

    pub(super) fn set_samples(&self, painted: Vec<Option<Frame>>) {
        lock(&self.0.samples).painted = painted;
    }

    fn is_looked_at(&self) -> bool {
        let until = self.0.looked_at_until.load(Ordering::Relaxed);
        until > 0 && self.0.started.0.elapsed().as_millis() < u128::from(until)
    }

    /// Notes a frame that the network takes now, `age` after its capture; it is not painted yet.
    pub(super) fn network_takes(&self, frame: &Frame, age: Duration) {
        self.0.stages.capture.add(age);
        if !self.is_looked_at() {
            return;
        }
        let mut between = lock(&self.0.between);
        let now = Instant::now();
        if between.kept.is_some_and(|kept| now - kept < PICTURE_EVERY) {
            return;
        }
        between.kept = Some(now);
        drop(between);
        let copy = frame.clone();
        let mut between = lock(&self.0.between);
        if between.sources.len() == SOURCES {
            between.sources.pop_front();
        }
        between.sources.push_back((frame.pts.unwrap_or_default(), copy));
    }

    /// Notes a frame that has been painted.
    pub(super) fn network_took(&self, time: Duration) {
        self.0.painted.fetch_add(1, Ordering::Relaxed);
        self.0.stages.network.add(time);
    }

    /// Notes a picture that outputs get now, `age` after its capture; `filled`: it is not a frame of the source.
    pub(super) fn outputs_get(&self, picture: &Buffer, pts: Duration, age: Duration, filled: bool) {
        let mut between = lock(&self.0.between);
        if between.passed.len() == REMEMBERED {
            between.passed.pop_front();
        }
        between.passed.push_back((pts, age));
        let source = match filled {
            true => {
                let now = Instant::now();
                let due = between.kept.is_none_or(|kept| now - kept >= PICTURE_EVERY);
                if !due || !self.is_looked_at() {
                    return;
                }
                between.kept = Some(now);
                None
            }
            false => {
                let Some(n) = between.sources.iter().position(|(of, _)| *of == pts) else { return };
                // Those before it are of frames that never came.
                between.sources.drain(..=n).next_back().map(|(_, frame)| frame)
            }
        };
        drop(between);
        let source = source.and_then(|frame| buffer_from_frame(frame).ok());
        let mut shown = lock(&self.0.shown);
        shown.number += 1;
        let picture = LivePicture { number: shown.number, painted: picture.clone(), source };
        // The one before is freed without the lock.
        let before = shown.picture.replace(picture);
        drop(shown);
        drop(before);
        self.0.shown_changed.notify_all();
    }

    /// Notes that an output has a frame ready `delay` after its capture, at `now` on the run's clock.
    pub(super) fn output_ready(&self, delay: Duration, now: Duration) {
        self.0.stages.total.add(delay);
        let pts = now.saturating_sub(delay);
        let near = |a: Duration, b: Duration| a.abs_diff(b) < Duration::from_millis(2);
        let between = lock(&self.0.between);
        let passed = between.passed.iter().rev().find(|(of, _)| near(*of, pts)).copied();
        drop(between);
        if let Some((_, age)) = passed {
            self.0.stages.output.add(delay.saturating_sub(age));
        }
    }
}

impl std::fmt::Debug for LiveMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LiveMonitor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::{Colorimetry, FrameInfo, Matrix, Planes, Range};

    const SOON: Duration = Duration::from_millis(1);

    fn frame(ms: u64, value: u8) -> Frame {
        let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };
        let info = FrameInfo { width: 2, height: 2, colorimetry };
        let planes = Planes::I420(vec![value; 6].into());
        Frame { info, planes, pts: Some(Duration::from_millis(ms)), duration: None }
    }

    /// The network takes a frame, and outputs get it painted.
    fn passes(monitor: &LiveMonitor, ms: u64) {
        monitor.network_takes(&frame(ms, 10), SOON);
        monitor.network_took(SOON);
        gets(monitor, ms, false);
    }

    fn gets(monitor: &LiveMonitor, ms: u64, filled: bool) {
        let painted = buffer_from_frame(frame(ms, 200)).unwrap();
        monitor.outputs_get(&painted, Duration::from_millis(ms), SOON, filled);
    }

    fn first_byte(buffer: &Buffer) -> u8 {
        buffer.map_readable().unwrap()[0]
    }

    #[test]
    fn pictures_are_kept_while_somebody_looks_and_show_one_instant() {
        crate::media::init().unwrap();
        let monitor = LiveMonitor::default();
        passes(&monitor, 0);
        gets(&monitor, 20, true);
        assert!(monitor.next_picture(0, SOON).is_none(), "nobody looks");
        monitor.look();
        // Two frames are under way; the second comes too soon after the first to be kept.
        monitor.network_takes(&frame(40, 10), SOON);
        monitor.network_takes(&frame(50, 11), SOON);
        gets(&monitor, 40, false);
        gets(&monitor, 50, false);
        let picture = monitor.next_picture(0, SOON).unwrap();
        assert_eq!((picture.number, first_byte(&picture.painted)), (1, 200));
        assert_eq!(first_byte(&picture.source.unwrap()), 10);
        assert!(monitor.next_picture(1, SOON).is_none());
        std::thread::sleep(PICTURE_EVERY);
        monitor.look();
        gets(&monitor, 900, true);
        let filled = monitor.next_picture(1, SOON).unwrap();
        assert!(filled.number == 2 && filled.source.is_none(), "no signal has no source");
        assert_eq!(monitor.painted(), 1);
    }

    #[test]
    fn a_source_whose_frame_never_came_is_let_go() {
        crate::media::init().unwrap();
        let monitor = LiveMonitor::default();
        for ms in [0, 100, 200] {
            monitor.look();
            monitor.network_takes(&frame(ms, ms as u8), SOON);
            std::thread::sleep(PICTURE_EVERY);
        }
        gets(&monitor, 100, false);
        assert_eq!(first_byte(&monitor.next_picture(0, SOON).unwrap().source.unwrap()), 100);
        assert_eq!(lock(&monitor.0.between).sources.len(), 1, "the one of 200 ms is under way");
    }

    #[test]
    fn stages_add_up_to_the_delay() {
        crate::media::init().unwrap();
        let monitor = LiveMonitor::default();
        let ms = Duration::from_millis;
        monitor.network_takes(&frame(1000, 1), ms(5));
        monitor.network_took(ms(20));
        let painted = buffer_from_frame(frame(1000, 2)).unwrap();
        monitor.outputs_get(&painted, ms(1000), ms(26), false);
        monitor.output_ready(ms(40), ms(1040));
        let stages = monitor.stages();
        let sum = |histogram: &Histogram| (histogram.counts().count, histogram.counts().sum);
        assert_eq!(sum(&stages.capture), (1, 0.005));
        assert_eq!(sum(&stages.network), (1, 0.020));
        assert_eq!(sum(&stages.output), (1, 0.014));
        assert_eq!(sum(&stages.total), (1, 0.040));
    }

    #[test]
    fn what_is_asked_waits_in_a_short_list() {
        let monitor = LiveMonitor::default();
        let ask = || monitor.ask(LiveRequest::StopRecording(Box::new(|_| {})));
        assert_eq!((0..REQUESTS + 3).filter(|_| ask()).count(), REQUESTS);
        assert_eq!(monitor.requests().len(), REQUESTS);
        assert!(ask());
    }
}
