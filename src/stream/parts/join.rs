//! Puts the parts of a video together, without encoding anything again.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::plan::{Fingerprint, JobFolder, JobPlan};
use crate::core::encoding::Container;
use crate::core::span::Span;
use crate::core::stats::Summary;
use crate::core::timeouts::{ENCODER_STALLED, WaitTimer};
use crate::media::packets::{PacketCaps, PacketInput, read_packets};
use crate::media::sink::{NewCopy, VideoSink};
use crate::media::tracks::Tracks;
use crate::media::{Event, PipelineError, PipelineRole};
use crate::stream::RunContext;
use crate::stream::finish::finish;
use crate::stream::partial::PartialFile;
use crate::stream::supervisor::{Stage, Supervisor, stopped_at_once};

/// Parts that are to be put together.
#[derive(Debug, Clone, Copy)]
pub struct JoinJob<'a> {
    /// The folder of the job.
    pub folder: &'a JobFolder,
    /// Its plan.
    pub plan: &'a JobPlan,
    /// SHA-256 of the plan.
    pub sum: &'a str,
    /// The video that was split.
    pub input: &'a Path,
    /// What of it was painted.
    pub span: Span,
    /// Copy its sound.
    pub audio: bool,
    /// What to write.
    pub output: &'a Path,
    /// Replace it if it exists.
    pub overwrite: bool,
}

/// Joins the parts of a job; sound, subtitles, chapters and tags come from the source.
///
/// # Errors
/// When parts are missing or damaged (says which, and what to do), the source has changed, or the output cannot be
/// written.
pub fn join(job: &JoinJob, context: &mut RunContext) -> Result<Summary> {
    let output = job.output.display();
    let Some(container) = Container::from_path(job.output) else {
        bail!("cannot write '{output}': its name must end in {}", Container::ENDINGS);
    };
    if job.output.exists() && !job.overwrite {
        bail!("'{output}' already exists; use --overwrite to replace it");
    }
    job.plan.source.check(&Fingerprint::of_video(job.input)?)?;
    complete(job)?;
    let Some((caps, decoding)) = decoding_times(job, context)? else { return Ok(nothing(job)) };
    let codec = caps.codec().context("the parts hold no video codec that is known")?;
    let tracks = Tracks::open(job.input, job.span, container, job.audio, &context.stop);
    tracks.notes().iter().for_each(|note| context.observer.note(note));
    let partial = PartialFile::beside(job.output);
    let partial = partial.with_context(|| format!("cannot write '{output}'"))?;
    let supervisor = Supervisor::new(&context.stop);
    let file = NewCopy { path: partial.path(), container, codec, caps: &caps };
    let sink = VideoSink::of_packets(file, tracks, &supervisor.events())
        .with_context(|| format!("cannot write '{output}'"))?;
    sink.notes().iter().for_each(|note| context.observer.note(note));
    let input = sink.packet_input();
    let stop = context.stop.clone();
    let (ended, copied) = thread::scope(|scope| {
        let copier = scope.spawn(|| copy(job, &input, decoding.as_deref(), &stop));
        let ended = supervisor.supervise(Joining {
            sink: &sink,
            path: partial.path(),
            written: (0, WaitTimer::new()),
        });
        if ended.is_err() {
            // A blocked push returns.
            sink.abandon();
        }
        let copied = copier.join().map_err(|_| anyhow!("the thread that copies panicked"));
        (ended, copied)
    });
    let copied = copied.and_then(|copied| copied);
    if context.stop.is_set() {
        return Ok(Summary { interrupted: true, ..nothing(job) });
    }
    // An error of the muxer also ends the copying.
    ended.with_context(|| format!("cannot write '{output}'"))?;
    let frames = copied?;
    let layout = sink.layout();
    drop(sink);
    finish(partial, container, &layout, &supervisor, context.observer)
        .with_context(|| format!("cannot write '{output}'"))?;
    let wall = context.stats.elapsed().as_secs_f64();
    Ok(Summary { frames, wall_s: wall, fps: frames as f64 / wall, ..nothing(job) })
}

fn nothing(job: &JoinJob) -> Summary {
    Summary {
        input: job.input.display().to_string(),
        output: job.output.display().to_string(),
        ..Summary::default()
    }
}

/// Refuses a job of which parts are missing or damaged.
fn complete(job: &JoinJob) -> Result<()> {
    let faults: Vec<_> = (0..job.plan.parts.len())
        .filter_map(|index| Some((index, job.folder.fault(index, job.plan, job.sum)?)))
        .collect();
    let Some((index, fault)) = faults.first() else { return Ok(()) };
    let folder = job.folder.path().display();
    match faults.len() {
        1 => bail!("{fault}: `nst-stream part {folder} --index {index}` paints it"),
        more => bail!(
            "{fault}, and {} more are not there: `nst-stream part {folder} --index {index}` paints one, \
             `nst-stream part {folder} --all` all of them",
            more - 1
        ),
    }
}

/// The format of the packets and, where pictures are decoded in another order than shown, the decoding time of each,
/// nanoseconds. None if it was stopped.
///
/// Encoders know the order of their own part alone. Here times of decoding are those of showing, in order, moved earlier
/// by as much as the most delayed picture needs.
fn decoding_times(
    job: &JoinJob,
    context: &mut RunContext,
) -> Result<Option<(PacketCaps, Option<Vec<i128>>)>> {
    let (mut format, mut reordered) = (None::<PacketCaps>, false);
    let mut times: Vec<i128> = Vec::new();
    for index in 0..job.plan.parts.len() {
        let origin = origin(job.plan, index);
        let read = read_packets(&job.folder.packets(index), &context.stop, &mut |caps, packet| {
            if format.get_or_insert_with(|| caps.clone()) != caps {
                let text = format!(
                    "part {index} was encoded in another way than part 0 (another encoder, or another version of it)"
                );
                return Err(PipelineError::new("join", text));
            }
            reordered |= packet.reordered;
            times.push(nanoseconds(packet.pts + origin));
            Ok(())
        });
        match read {
            Err(_) if context.stop.is_set() => return Ok(None),
            read => read.with_context(|| repaint(job, index))?,
        }
    }
    let format = format.context("the parts hold no pictures")?;
    Ok(Some((format, reordered.then(|| moved_earlier(&times)))))
}

/// The decoding times of pictures with these times, which are in the order of decoding.
fn moved_earlier(shown: &[i128]) -> Vec<i128> {
    let mut sorted = shown.to_vec();
    sorted.sort_unstable();
    let delay = sorted.iter().zip(shown).map(|(decoded, shown)| decoded - shown).max();
    let delay = delay.unwrap_or_default().max(0);
    sorted.iter_mut().for_each(|time| *time -= delay);
    sorted
}

fn repaint(job: &JoinJob, index: usize) -> String {
    let folder = job.folder.path().display();
    format!(
        "part {index} cannot be used; `nst-stream part {folder} --index {index} --again` paints it anew"
    )
}

/// What is added to the times of a part.
fn origin(plan: &JobPlan, index: usize) -> Duration {
    let lead = plan.parts.get(index).map(|part| part.lead_start).unwrap_or_default();
    // The first begins as the whole run does.
    Duration::from_nanos(if index == 0 { 0 } else { lead })
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX >> 1)
}

/// Copies all packets; returns how many.
fn copy(
    job: &JoinJob,
    target: &PacketInput,
    decoding: Option<&[i128]>,
    stop: &crate::core::stop::StopSignal,
) -> Result<u64> {
    let mut count = 0u64;
    for index in 0..job.plan.parts.len() {
        let origin = origin(job.plan, index);
        let read = read_packets(&job.folder.packets(index), stop, &mut |caps, packet| {
            let pts = packet.pts + origin;
            let dts = decoding.and_then(|times| times.get(usize::try_from(count).ok()?).copied());
            match target.push(caps, packet, (pts, dts)) {
                true => count += 1,
                false => return Err(PipelineError::new("join", "the file takes no more")),
            }
            Ok(())
        });
        if let Err(error) = read {
            target.end();
            return Err(anyhow::Error::from(error).context(repaint(job, index)));
        }
    }
    target.end();
    Ok(count)
}

/// The stage in which packets are copied: it lasts until the muxer has finished.
struct Joining<'a> {
    sink: &'a VideoSink,
    path: &'a Path,
    /// Bytes at the last progress, and the time since.
    written: (u64, WaitTimer),
}

impl Stage for Joining<'_> {
    type End = Result<()>;

    fn handle(&mut self, event: Event) -> ControlFlow<Self::End> {
        match event {
            Event::End(PipelineRole::Sink(_)) => return ControlFlow::Break(Ok(())),
            Event::Failed(PipelineRole::Sink(_), error) => {
                return ControlFlow::Break(Err(error.into()));
            }
            Event::Failed(PipelineRole::Track(number), error) => {
                tracing::warn!("track {}: {error}", number + 1);
                self.sink.end_track(number);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn stop(&mut self) -> ControlFlow<Self::End> {
        ControlFlow::Break(Err(anyhow!("it was interrupted")))
    }

    fn stop_at_once(&mut self) -> Self::End {
        Err(stopped_at_once())
    }

    fn tick(&mut self) -> ControlFlow<Self::End> {
        let bytes = std::fs::metadata(self.path).map_or(0, |file| file.len());
        let (seen, patience) = &mut self.written;
        if std::mem::replace(seen, bytes) != bytes {
            patience.renew();
        }
        match patience.is_over(ENCODER_STALLED) {
            true => ControlFlow::Break(Err(anyhow!("nothing has been written for a long time"))),
            false => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_decoded_in_order_and_never_after_they_are_shown() {
        // I P B B, and the next part.
        let shown = [0, 120, 40, 80, 160, 280, 200, 240];
        let decoded = moved_earlier(&shown);
        assert_eq!(decoded, [-40, 0, 40, 80, 120, 160, 200, 240]);
        assert!(decoded.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(decoded.iter().zip(shown).all(|(decoded, shown)| *decoded <= shown));
        assert_eq!(moved_earlier(&[0, 40, 80]), [0, 40, 80]);
    }
}
