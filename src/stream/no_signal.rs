//! What outputs get while a live source delivers nothing: its last picture again, then a card; and silence.

use std::time::{Duration, Instant};

use plotters::prelude::{BitMapBackend, IntoDrawingArea, Text, WHITE};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, IntoFont, RGBColor, register_font};

use crate::core::frame::{Frame, FrameInfo, LEAST_INTERVAL, Planes, Range};
use crate::core::signal::{OnLoss, SourceSignal};
use crate::core::timeouts::{HOLD_PICTURE, REPEAT_PICTURE};
use crate::media::Buffer;
use crate::media::clock::LiveClock;
use crate::media::live::LiveSource;
use crate::media::live_audio::LiveAudio;
use crate::media::video::{at_time, buffer_from_frame};

/// Pictures for the time in which a source delivers nothing.
pub(super) struct NoSignal {
    signal: SourceSignal,
    on_loss: OnLoss,
    clock: LiveClock,
    audio: Option<LiveAudio>,
    frame: FrameInfo,
    /// What the card names.
    name: String,
    /// Between two pictures.
    interval: Duration,
    /// Nothing is repeated: the run ends when the source does.
    off: bool,
    last: Option<Buffer>,
    card: Option<Buffer>,
    /// The card is shown, until the next picture of the source.
    on_card: bool,
    /// The newest picture is one of these.
    filled: bool,
    newest: Duration,
    /// From a picture's time until it is passed on.
    lag: Duration,
    due: Instant,
}

impl NoSignal {
    /// For a source, which is called `name`.
    pub fn of(
        source: &LiveSource,
        name: String,
        on_loss: OnLoss,
        interval: Duration,
        clock: &LiveClock,
    ) -> Self {
        NoSignal {
            signal: source.signal().clone(),
            on_loss,
            clock: clock.clone(),
            audio: source.audio().cloned(),
            frame: source.stream().frame,
            name,
            interval: interval.clamp(Duration::from_millis(10), Duration::from_secs(1)),
            off: !source.is_reopened(),
            last: None,
            card: None,
            on_card: false,
            filled: false,
            newest: Duration::ZERO,
            lag: Duration::ZERO,
            due: Instant::now(),
        }
    }

    /// How long to wait for a picture of the source before [`next`](Self::next) is asked.
    pub fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    /// Notes a picture of the source, whose time is `pts`; false if it comes too late, since its time has been filled.
    pub fn passes(&mut self, picture: &Buffer, pts: Duration) -> bool {
        if self.off {
            return true;
        }
        if self.filled && pts < self.newest + LEAST_INTERVAL {
            // Its pictures take longer than those before the loss: what is filled waits for them.
            self.lag = self.lag.max(self.clock.now().saturating_sub(pts));
            self.due = Instant::now() + self.interval;
            return false;
        }
        self.last = Some(picture.clone());
        (self.filled, self.on_card, self.newest) = (false, false, pts);
        self.lag = self.clock.now().saturating_sub(pts);
        self.due = Instant::now() + self.interval;
        if let Some(audio) = self.audio.as_ref().filter(|audio| audio.is_absent()) {
            audio.fill(pts);
        }
        true
    }

    /// The next picture, with its time, if the source delivers nothing now.
    pub fn next(&mut self) -> Option<(Buffer, Duration)> {
        let now = Instant::now();
        self.due = (self.due + self.interval).max(now);
        let silent = self.signal.silent_for();
        let rare = REPEAT_PICTURE.max(3 * self.interval);
        if self.off || self.last.is_none() || silent < rare && !self.on_card {
            return None;
        }
        let lost = self.signal.is_lost();
        self.on_card |= lost && silent >= HOLD_PICTURE && self.on_loss == OnLoss::Card;
        if self.on_card && self.card.is_none() {
            self.card = buffer_from_frame(card(self.frame, &self.name)).ok();
        }
        let picture = self.card.as_ref().filter(|_| self.on_card).or(self.last.as_ref())?;
        let earliest = self.newest + LEAST_INTERVAL;
        let pts = self.clock.now().saturating_sub(self.lag).max(earliest);
        (self.newest, self.filled) = (pts, true);
        if let Some(audio) = self.audio.as_ref().filter(|audio| lost || audio.is_absent()) {
            audio.fill(pts);
        }
        Some((at_time(picture, pts), pts))
    }
}

/// "no signal", and the name of the source.
fn card(frame: FrameInfo, name: &str) -> Frame {
    let FrameInfo { width, height, .. } = frame;
    let mut rgb = vec![0; 3 * width * height];
    write(&mut rgb, (width, height), name);
    let full = frame.colorimetry.range == Range::Full;
    let luma = |grey: u8| if full { grey } else { (16 + u32::from(grey) * 219 / 255) as u8 };
    let mut planes: Vec<u8> = rgb.iter().step_by(3).map(|grey| luma(*grey)).collect();
    planes.resize(planes.len() + 2 * width.div_ceil(2) * height.div_ceil(2), 128);
    Frame { info: frame, planes: Planes::I420(planes.into()), pts: None, duration: None }
}

/// Writes the card's two lines. Without a font it stays grey.
fn write(rgb: &mut [u8], (width, height): (usize, usize), name: &str) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let font = epaint_default_fonts::UBUNTU_LIGHT;
        let _ = register_font("sans-serif", FontStyle::Normal, font);
    });
    let area = BitMapBackend::with_buffer(rgb, (width as u32, height as u32)).into_drawing_area();
    let _ = area.fill(&RGBColor(40, 40, 40));
    let line = |text: &str, at: f64, most: f64| {
        // A letter of this font is about half as wide as high.
        let fits = 0.9 * width as f64 / (0.55 * text.chars().count().max(1) as f64);
        let size = fits.min(most * height as f64).max(8.0);
        let middle = Pos::new(HPos::Center, VPos::Center);
        let style = ("sans-serif", size).into_font().color(&WHITE).pos(middle);
        let place = (width as i32 / 2, (at * height as f64) as i32);
        let _ = area.draw(&Text::new(text.to_owned(), place, style));
    };
    line("no signal", 0.42, 0.16);
    line(name, 0.62, 0.07);
    let _ = area.present();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::{Colorimetry, Matrix};

    const FRAME: FrameInfo = FrameInfo {
        width: 16,
        height: 16,
        colorimetry: Colorimetry { matrix: Matrix::Bt709, range: Range::Limited },
    };

    #[test]
    fn a_picture_that_comes_back_within_a_tick_of_a_filled_one_is_too_late() {
        let mut no_signal = NoSignal {
            signal: SourceSignal::default(),
            on_loss: OnLoss::Card,
            clock: LiveClock::start().unwrap(),
            audio: None,
            frame: FRAME,
            name: "camera".to_owned(),
            interval: Duration::from_millis(10),
            off: false,
            last: None,
            card: None,
            on_card: true,
            filled: false,
            newest: Duration::ZERO,
            lag: Duration::ZERO,
            due: Instant::now(),
        };
        let picture = buffer_from_frame(card(FRAME, "camera")).unwrap();
        assert!(no_signal.passes(&picture, Duration::from_micros(100)));
        no_signal.on_card = true;
        let (_, filled) = no_signal.next().unwrap();
        assert!(!no_signal.passes(&picture, filled));
        assert!(!no_signal.passes(&picture, filled + Duration::from_micros(10)));
        assert!(no_signal.passes(&picture, filled + LEAST_INTERVAL));
        assert!(no_signal.passes(&picture, filled + LEAST_INTERVAL + Duration::from_micros(10)));
    }

    #[test]
    fn the_card_has_bright_letters_on_grey_and_names_the_source() {
        let of = |name: &str, (width, height): (usize, usize)| {
            let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
            card(FrameInfo { width, height, colorimetry }, name).planes.into_bytes().to_vec()
        };
        for size in [(160, 120), (1280, 720), (64, 48), (2, 2)] {
            let (luma, chroma) = (size.0 * size.1, size.0 / 2 * (size.1 / 2) * 2);
            let here = of("rtsp://camera/1", size);
            assert_eq!(here.len(), luma + chroma, "{size:?}");
            assert!(here[luma..].iter().all(|c| *c == 128), "{size:?}");
            assert!(here[..luma].iter().all(|y| (16..=235).contains(y)), "{size:?}");
        }
        let (here, there) = (of("rtsp://camera/1", (320, 240)), of("rtsp://door/2", (320, 240)));
        let bright = here.iter().take(320 * 240).filter(|y| **y > 200).count();
        assert!(bright > 300, "{bright} bright pixels");
        assert!(here != there, "another name, another picture");
        // A long name stays within the picture.
        of(&"rtsp://a-very-long-name.example/".repeat(9), (320, 240));
    }
}
