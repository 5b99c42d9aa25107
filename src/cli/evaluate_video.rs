//! `nst-stream evaluate --video`: how much a model's video flickers, or one that was painted otherwise.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use image::imageops::{FilterType, replace, resize};
use indicatif::ProgressBar;

use crate::core::frame::{Frame, FramePool};
use crate::core::picture::{Picture, format_for_output, rgb_frame};
use crate::core::queue::{Consumer, bounded};
use crate::core::span::Span;
use crate::core::stop::StopSignal;
use crate::core::stylizer::Stylizer;
use crate::engine::stylizer::NetworkStylizer;
use crate::media::Event;

use crate::media::source::{FrameFormat, VideoSource};
use crate::steady::Steady;
use crate::train::flicker::{ClipFigures, Flicker, FlickerFigures, mean};
use crate::train::plot::draw_over_time;

/// Frames that are decoded ahead.
const AHEAD: usize = 2;
/// Pixels between time slices.
const GAP: u32 = 4;

/// What paints the frames of a clip.
pub(super) enum Painter {
    /// A model.
    Model(Box<Steady<NetworkStylizer>>),
    /// A video that shows them painted.
    Video(PathBuf),
}

/// Paints clips frame by frame, measures and prints.
///
/// # Errors
/// One line for the user.
pub fn run(
    mut painter: Painter,
    clips: &[PathBuf],
    (sheet, plot): (Option<&Path>, Option<&Path>),
    (json, quiet): (bool, bool),
) -> Result<()> {
    if let Some(path) = sheet {
        let shown = path.display();
        ensure!(
            format_for_output(path).is_some(),
            "--sheet '{shown}': its name must end in .png or .jpg"
        );
    }
    if let Some(path) = plot {
        let known = path.extension().is_some_and(|e| e == "png" || e == "svg");
        ensure!(known, "--plot '{}': its name must end in .png or .svg", path.display());
    }
    let (mut all, mut slices) = (Vec::new(), Vec::new());
    for clip in clips {
        let shown = clip.display();
        let (figures, slice) = measure(&mut painter, clip, quiet)
            .with_context(|| format!("cannot measure '{shown}'"))?;
        all.push((shown.to_string(), figures));
        slices.push(slice);
    }
    if let Some(path) = sheet {
        save_slices(&slices, path)?;
    }
    if let Some(path) = plot {
        draw_over_time(&lines(&all), "frame", "warping error", path)?;
    }
    super::print(&if json { in_json(&all) } else { in_words(&all)? })
}

/// The frames of a video, one by one.
struct Frames {
    // Closed before the source, which may wait for room in it.
    queue: Consumer<Frame>,
    source: VideoSource,
    heard: Receiver<Event>,
}

impl Frames {
    fn open(video: &Path) -> Result<Self> {
        ensure!(video.exists(), "no such file");
        let stop = StopSignal::default();
        let source = VideoSource::open(video, Span::default(), FrameFormat::Rgb, &stop)?;
        let (producer, queue) = bounded(AHEAD);
        let (events, heard) = channel();
        source.start(producer, FramePool::new(AHEAD + 2), events)?;
        Ok(Frames { queue, source, heard })
    }

    fn size(&self) -> (usize, usize) {
        let frame = self.source.stream().frame;
        (frame.width, frame.height)
    }

    /// How many there probably are.
    fn expected(&self) -> Option<u64> {
        let stream = self.source.stream();
        let (duration, (n, d)) = stream.duration.zip(stream.framerate)?;
        Some((duration.as_secs_f64() * f64::from(n) / f64::from(d)).round() as u64)
    }

    fn next(&mut self) -> Option<Frame> {
        self.queue.pop()
    }

    /// The error that ended it, if there was one.
    fn finish(self) -> Result<()> {
        for event in self.heard.try_iter() {
            if let Event::Failed(_, error) = event {
                bail!(error);
            }
        }
        Ok(())
    }
}

/// The figures of a clip, and its time slices: source, painted. A painted video is measured at its own size, as far as
/// both go.
fn measure(
    painter: &mut Painter,
    clip: &Path,
    quiet: bool,
) -> Result<(ClipFigures, [TimeSlice; 2])> {
    let mut source = Frames::open(clip)?;
    let mut other = match painter {
        Painter::Model(stylizer) => {
            stylizer.forget();
            None
        }
        Painter::Video(path) => {
            let shown = path.display();
            Some(Frames::open(path).with_context(|| format!("cannot decode '{shown}'"))?)
        }
    };
    let (width, height) = other.as_ref().unwrap_or(&source).size();
    let bar = (!quiet && std::io::stderr().is_terminal())
        .then(|| ProgressBar::new(source.expected().unwrap_or_default()));
    let mut flicker = Flicker::new(width, height);
    let mut slices = [TimeSlice::new(width, height), TimeSlice::new(width, height)];
    while let Some(mut frame) = source.next() {
        let original = sized(&frame, width, height)?;
        match (&mut *painter, &mut other) {
            (Painter::Model(stylizer), _) => stylizer.stylize(std::slice::from_mut(&mut frame))?,
            (Painter::Video(_), other) => match other.as_mut().and_then(Frames::next) {
                Some(painted) => frame = painted,
                None => break,
            },
        }
        let painted = frame.planes.bytes();
        flicker.add(&original, painted);
        slices[0].add(&original);
        slices[1].add(painted);
        bar.iter().for_each(|bar| bar.inc(1));
    }
    bar.iter().for_each(ProgressBar::finish_and_clear);
    source.finish()?;
    other.map_or(Ok(()), Frames::finish)?;
    let figures = flicker.finish().context("it has fewer than two frames")?;
    Ok((figures, slices))
}

/// The pixels of a frame at a size.
fn sized(frame: &Frame, width: usize, height: usize) -> Result<Vec<u8>> {
    let pixels = frame.planes.bytes().to_vec();
    let (own_width, own_height) = (frame.info.width as u32, frame.info.height as u32);
    if (frame.info.width, frame.info.height) == (width, height) {
        return Ok(pixels);
    }
    let picture = RgbImage::from_raw(own_width, own_height, pixels).context("not an RGB frame")?;
    Ok(resize(&picture, width as u32, height as u32, FilterType::CatmullRom).into_raw())
}

/// The middle column of each frame, beside each other: what is steady makes smooth lines, flicker noise.
struct TimeSlice {
    width: usize,
    height: usize,
    columns: Vec<u8>,
}

impl TimeSlice {
    fn new(width: usize, height: usize) -> Self {
        TimeSlice { width, height, columns: Vec::new() }
    }

    fn add(&mut self, rgb: &[u8]) {
        let middle = 3 * (self.width / 2);
        for line in rgb.chunks_exact(3 * self.width) {
            self.columns.extend_from_slice(&line[middle..middle + 3]);
        }
    }

    fn picture(&self) -> RgbImage {
        let frames = self.columns.len() / (3 * self.height).max(1);
        RgbImage::from_fn(frames as u32, self.height as u32, |x, y| {
            let at = 3 * (x as usize * self.height + y as usize);
            image::Rgb([self.columns[at], self.columns[at + 1], self.columns[at + 2]])
        })
    }
}

/// A row for each clip: the source's slice and that of the painted frames.
fn save_slices(clips: &[[TimeSlice; 2]], path: &Path) -> Result<()> {
    let rows: Vec<[RgbImage; 2]> =
        clips.iter().map(|pair| pair.each_ref().map(TimeSlice::picture)).collect();
    let width = rows.iter().map(|[a, b]| a.width() + GAP + b.width()).max().unwrap_or(1);
    let height: u32 = rows.iter().map(|[a, _]| a.height() + GAP).sum();
    let mut all = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    let mut y = 0;
    for [source, painted] in &rows {
        replace(&mut all, source, 0, y);
        replace(&mut all, painted, i64::from(source.width() + GAP), y);
        y += i64::from(source.height() + GAP);
    }
    let frame = rgb_frame(width as usize, height as usize, all.into_raw());
    let cannot = || format!("cannot write '{}'", path.display());
    let file = crate::stream::PartialFile::beside(path).with_context(cannot)?;
    Picture::from_frame(frame).save(file.path(), path)?;
    file.commit().with_context(cannot)
}

/// Each clip's warping error over its frames, painted and of the source.
fn lines(all: &[(String, ClipFigures)]) -> Vec<(String, Vec<f64>)> {
    let line = |(clip, figures): &(String, ClipFigures)| {
        let name = Path::new(clip).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (painted, source) = figures.over_time.iter().copied().unzip();
        [(name.clone(), painted), (format!("{name}, source"), source)]
    };
    all.iter().flat_map(line).collect()
}

fn in_json(all: &[(String, ClipFigures)]) -> String {
    let clips = all.iter().map(|(clip, figures)| {
        // Only numbers, which always become JSON.
        let mut one = serde_json::to_value(figures).unwrap_or_default();
        one["clip"] = clip.as_str().into();
        one
    });
    let (painted, source) = means(all);
    let mut mean = serde_json::to_value(painted).unwrap_or_default();
    mean["source"] = serde_json::to_value(source).unwrap_or_default();
    let clips: Vec<_> = clips.collect();
    format!("{:#}\n", serde_json::json!({ "mean": mean, "clips": clips }))
}

fn means(all: &[(String, ClipFigures)]) -> (FlickerFigures, FlickerFigures) {
    let of = |pick: fn(&ClipFigures) -> FlickerFigures| {
        mean(&all.iter().map(|(_, figures)| pick(figures)).collect::<Vec<_>>())
    };
    (of(|figures| figures.painted), of(|figures| figures.source))
}

fn in_words(all: &[(String, ClipFigures)]) -> Result<String> {
    let mut text = String::new();
    let mut table =
        |title: &str, painted: &FlickerFigures, source: &FlickerFigures| -> Result<()> {
            writeln!(text, "{title:22} {:>12} {:>12}", "painted", "source")?;
            let still = |figures: &FlickerFigures| match figures.still_flicker {
                Some(levels) => format!("{levels:.2}"),
                None => "-".to_owned(),
            };
            let (warped, sharp) =
                (|f: &FlickerFigures| f.warping_error, |f: &FlickerFigures| f.sharpness);
            for (name, painted, source, meaning) in [
                (
                    "warping error",
                    format!("{:.4}", warped(painted)),
                    format!("{:.4}", warped(source)),
                    "difference to the frame before, moved along the flow; 0 is steady",
                ),
                (
                    "still flicker",
                    still(painted),
                    still(source),
                    "change of still pixels a frame, in levels of 255",
                ),
                (
                    "sharpness",
                    format!("{:.2}", sharp(painted)),
                    format!("{:.2}", sharp(source)),
                    "mean Laplacian, in levels of 255",
                ),
            ] {
                writeln!(text, "  {name:20} {painted:>12} {source:>12}  {meaning}")?;
            }
            Ok(())
        };
    for (clip, figures) in all {
        table(&format!("'{clip}', {} frames", figures.frames), &figures.painted, &figures.source)?;
    }
    if all.len() > 1 {
        let (painted, source) = means(all);
        table(&format!("mean of {} clips", all.len()), &painted, &source)?;
    }
    Ok(text)
}
