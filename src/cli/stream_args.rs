//! Options of the main command: `nst-stream --model M --input IN --output OUT`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
#[cfg(feature = "media")]
use clap::ValueEnum;

#[cfg(feature = "media")]
use super::UsageError;
use super::encoding::EncodingArgs;
use super::regions::{BlendAt, Given, ModelAt};
#[cfg(feature = "media")]
use crate::control::{ControlAddress, ControlOptions, OscAddress, Token};
#[cfg(feature = "media")]
use crate::core::endpoint::{OutputSpec, parse_size};
use crate::core::rate::FrameRate;
#[cfg(feature = "media")]
use crate::core::signal::{LossOptions, OnLoss};
use crate::core::span::{parse_length, parse_time};
use crate::engine::device::DeviceChoice;
use crate::engine::precision::PrecisionChoice;
use crate::engine::stylizer::StyleMix;
#[cfg(feature = "media")]
use crate::media::live::LiveOptions;
#[cfg(feature = "media")]
use crate::media::mode::RequestedMode;
use crate::stream::EngineOptions;
use crate::train::optimize::regions::StyleAt;

/// Options of the main command, in the groups of its help.
#[derive(Debug, Args)]
pub struct StreamArgs {
    /// Style model: a file, or the name of a shipped model (see `nst-stream models`). Repeat it for
    /// live runs, where keys switch models, and with --mask: mosaic@white, none@black; live, regions
    /// can be given other models later, also such that are named without a region
    #[arg(short, long = "model", value_name = "MODEL", required_unless_present = "styles", help_heading = STYLE)]
    pub(super) models: Vec<ModelAt>,
    /// Picture whose style to paint at once, without training (by the model any-lite, or by one that --model names).
    /// Several are mixed, by weight: a.jpg:0.7; live, keys step through those without weights. With --mask each names
    /// its region: sky.jpg@white
    #[arg(long = "style", value_name = "PICTURE[:SHARE][@COLOUR]", help_heading = STYLE)]
    pub(super) styles: Vec<StyleAt>,
    /// Styles of a multi-style model: wave, or a mixture such as mosaic:0.6,wave:0.4. Repeat it with
    /// --mask: wave@white [default: the first style; live, keys step through all]
    #[arg(long, value_name = "STYLE[:SHARE],…", help_heading = STYLE)]
    pub(super) blend: Vec<BlendAt>,
    /// Picture whose colours mark regions, each with its own @COLOUR (black, white, a grey value or
    /// #rrggbb) in --model or --blend; `none` leaves a region unpainted
    #[arg(long, value_name = "PICTURE", help_heading = STYLE)]
    pub(super) mask: Option<PathBuf>,
    /// How much of the style to apply, from 0 (none) to 1
    #[arg(long, value_name = "0…1", default_value_t = 1.0, value_parser = fraction, help_heading = STYLE)]
    strength: f64,
    /// Keep the colours of the input and paint its brightness only
    #[arg(long, help_heading = STYLE)]
    preserve_color: bool,
    /// Paint at this fraction of the frame size: faster, with larger strokes; the output keeps its size
    #[arg(long, value_name = "0.01…1", default_value_t = 1.0, value_parser = scale, help_heading = STYLE)]
    scale: f64,
    /// Factor for the size of brush strokes: 2 doubles it and takes about a quarter of the time; 0.5 halves
    /// it and takes four times as long
    #[arg(long, value_name = "0.25…4", default_value_t = 1.0, value_parser = stroke, help_heading = STYLE)]
    stroke: f64,
    /// Hold video steady: how much paint is carried along with what it lies on, from 0 (each frame is painted anew) to
    /// 1 (paint stays until it is covered)
    #[arg(long, value_name = "0…1", default_value_t = 1.0, value_parser = fraction, help_heading = STYLE)]
    steady: f64,
    /// Run a TorchScript model. It can do anything on this machine: only if you trust its author
    #[arg(long, help_heading = STYLE)]
    trust: bool,
    /// What to paint: a video, an animation, a picture, a folder of pictures or numbered pictures
    /// (frames/%04d.png), - for YUV4MPEG2 on stdin, /dev/videoN, rtsp://…, rtsps://…,
    /// http(s)://… (HLS, MJPEG), udp://…, srt://…, rtmp(s)://…, whip: (a browser's camera, with --control) or test:
    #[arg(short, long, value_name = "INPUT", help_heading = IO)]
    pub(super) input: Option<OsString>,
    /// Where to write: a video (.mp4, .mov, .mkv, .webm), a picture (.png, .jpg), pictures (out/ or
    /// out/%05d.png), - for YUV4MPEG2 on stdout; live, one or more of a video, window:, /dev/videoN
    /// (v4l2loopback), HLS (live.m3u8), srt://, rtmp(s):// or udp:// to send to, or rtsp://ADDRESS:PORT/PATH
    /// to serve [default: with --control the page alone, else window:; without a display,
    /// rtsp://127.0.0.1:8554/art]
    #[arg(short, long = "output", value_name = "OUTPUT", help_heading = IO)]
    pub(super) outputs: Vec<OsString>,
    /// Replace the output if it exists
    #[arg(long, help_heading = IO)]
    pub(super) overwrite: bool,
    /// Start at this time of the video: seconds, MM:SS or HH:MM:SS [default: its beginning]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = IO)]
    pub(super) start: Option<Duration>,
    /// Stop after this much of the video: seconds, MM:SS or HH:MM:SS [default: all of it]
    #[arg(long, value_name = "TIME", value_parser = parse_length, help_heading = IO)]
    pub(super) duration: Option<Duration>,
    /// Paint only the frame at this time, as a picture
    #[arg(long, value_name = "TIME", value_parser = parse_time,
          conflicts_with_all = ["start", "duration"], help_heading = IO)]
    pub(super) preview: Option<Duration>,
    /// Frame rate, in frames per second: of pictures that become a video, or requested from a camera: 25,
    /// 30000/1001 [default: 25; of a camera 30]
    #[arg(long, value_name = "N[/D]", value_parser = FrameRate::parse, help_heading = IO)]
    pub(super) fps: Option<FrameRate>,
    /// Leave out the sound; subtitles stay
    #[arg(long, help_heading = IO)]
    pub(super) no_audio: bool,
    #[command(flatten)]
    pub(super) encoding: EncodingArgs,
    #[cfg(feature = "media")]
    #[command(flatten)]
    pub(super) live: LiveArgs,
    /// Device to run the network on: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = PERFORMANCE)]
    device: DeviceChoice,
    /// Precision of the network's arithmetic: auto, fp32, bf16 or fp16
    #[arg(long, value_name = "PRECISION", default_value = "auto", help_heading = PERFORMANCE)]
    precision: PrecisionChoice,
    /// Frames per pass of the network: a number, or auto
    #[arg(long, value_name = "N", default_value = "auto", value_parser = batch, help_heading = PERFORMANCE)]
    pub(super) batch: Batch,
    /// CPU threads for the network [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = PERFORMANCE)]
    threads: Option<usize>,
    /// On a GPU, use the program's own kernels between cuDNN's convolutions: on or off
    #[arg(long, value_name = "on|off", default_value = "off", action = clap::ArgAction::Set,
          value_parser = switch, help_heading = PERFORMANCE)]
    gpu_kernels: bool,
    /// Print a summary as JSON: frames, fps, speed, seconds in decoder, network and encoder
    #[arg(long, help_heading = DIAGNOSTICS)]
    pub(super) json: bool,
    /// Write the GStreamer pipelines into this folder as Graphviz graphs
    #[arg(long, value_name = "FOLDER", help_heading = DIAGNOSTICS)]
    pub(super) dump_dot: Option<PathBuf>,
}

// Headings of the help.
const STYLE: &str = "Model and style";
const IO: &str = "Input and output";
const PERFORMANCE: &str = "Performance";
const DIAGNOSTICS: &str = "Diagnostics";

#[derive(Debug, Clone, Copy)]
pub(super) enum Batch {
    Auto,
    Of(usize),
}

fn batch(text: &str) -> Result<Batch, String> {
    if text == "auto" { Ok(Batch::Auto) } else { positive(text).map(Batch::Of) }
}

fn positive(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok().filter(|n| (1..=1024).contains(n));
    number.ok_or_else(|| "expected a number from 1 to 1024".to_owned())
}

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}

pub(super) fn fraction(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|f| (0.0..=1.0).contains(f));
    number.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn scale(text: &str) -> Result<f64, String> {
    let number = fraction(text).ok().filter(|f| *f >= 0.01);
    number.ok_or_else(|| "expected a number from 0.01 to 1".to_owned())
}

fn stroke(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok().filter(|f| (0.25..=4.0).contains(f));
    number.ok_or_else(|| "expected a number from 0.25 to 4".to_owned())
}

impl StreamArgs {
    /// What is to paint, and where.
    pub(super) fn painters(&self) -> Given<'_> {
        let (models, styles) = (&self.models, &self.styles);
        Given { models, styles, blends: &self.blend, mask: self.mask.as_deref() }
    }

    #[cfg(feature = "media")]
    pub(super) fn own_source(&self) -> Option<PathBuf> {
        self.live.pipeline_source.clone()
    }

    #[cfg(not(feature = "media"))]
    pub(super) fn own_source(&self) -> Option<PathBuf> {
        None
    }

    /// How steady video is held, 0–1.
    pub(super) fn steadiness(&self) -> f32 {
        self.steady as f32
    }

    /// How models run.
    pub(super) fn engine(&self) -> EngineOptions {
        EngineOptions {
            trust: self.trust,
            device: self.device,
            precision: self.precision,
            gpu_kernels: self.gpu_kernels,
            threads: self.threads,
            scale: self.scale,
            stroke: self.stroke,
            mix: StyleMix { strength: self.strength as f32, preserve_color: self.preserve_color },
        }
    }
}

/// Options that only live runs have.
#[cfg(feature = "media")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Live")]
pub struct LiveArgs {
    /// Frame size to ask of a camera [default: the mode nearest to 640x480]
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    size: Option<(u32, u32)>,
    /// Paint at a smaller scale while the network cannot keep up with the source
    #[arg(long)]
    pub(super) adapt: bool,
    /// Buffer an RTSP source this long, in milliseconds, to reorder late packets
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    latency: u64,
    /// Transport of an RTSP source: auto (UDP, then TCP), tcp or udp
    #[arg(long, value_name = "TRANSPORT", value_enum, hide_possible_values = true, default_value_t = Transport::Auto)]
    rtsp_transport: Transport,
    /// What outputs show while a live source is lost and opened again: card (the last picture for a second, then "no
    /// signal"), hold (the last picture), or end (the run ends)
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true, default_value_t = Loss::Card)]
    on_loss: Loss,
    /// Seconds without a frame after which a live source counts as lost; 0: silence is not a loss
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = stall)]
    stall: Duration,
    /// How often in a row a live source is opened again before the run ends, at its start as well [default: for ever,
    /// but at its start not]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Play a file that is played live again from its beginning when it ends
    #[arg(long = "loop")]
    looped: bool,
    /// Send the result to a media server (RTSP RECORD), with the sound; repeatable
    #[arg(long = "rtsp-push", value_name = "URL")]
    pub push: Vec<String>,
    /// Seconds between key frames of streams that are sent (srt://, rtmp://, udp://, rtsp://) [default: 2, and 1 where an
    /// RTSP server is among the outputs, since its clients may lose packets]
    #[arg(long, value_name = "SECONDS", value_parser = gop)]
    gop: Option<Duration>,
    /// Record in pieces of this length, each a file of its own whose number stands in the output's name
    /// (art-%05d.mp4): 90s, 10m, 1h30m
    #[arg(long, value_name = "LENGTH", value_parser = segment)]
    pub(super) segment: Option<Duration>,
    /// Serve a page to see and steer the run, an API and metrics over HTTP: 8080 or 127.0.0.1:8080 for this machine, 0.0.0.0:8080
    /// for all who open the link that is printed
    #[arg(long, value_name = "ADDRESS:PORT")]
    control: Option<ControlAddress>,
    /// Open the page of --control in a browser
    #[arg(long, requires = "control")]
    pub(super) open: bool,
    /// Ask for this token instead of a random one, 16 or more letters; ${NAME} and ${file:PATH} are replaced
    #[arg(long, value_name = "TOKEN", requires = "control")]
    control_token: Option<String>,
    /// Further name of this machine under which the page may be asked for, behind a proxy for example; repeatable
    #[arg(long, value_name = "NAME", requires = "control")]
    control_host: Vec<String>,
    /// Serve the page by https: certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires_all = ["control", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Steer the run by OSC over UDP: 9000 or 127.0.0.1:9000 for this machine, 0.0.0.0:9000 for all who reach it (there
    /// is no password)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(super) osc: Option<OscAddress>,
    /// Read frames from your own GStreamer description, which ends in an appsink named `frames`
    #[arg(long, value_name = "FILE", conflicts_with = "input")]
    pub pipeline_source: Option<PathBuf>,
    /// Write frames to your own GStreamer description, which begins with an appsrc named `frames`;
    /// repeatable
    #[arg(long, value_name = "FILE")]
    pub pipeline_sink: Vec<PathBuf>,
}

#[cfg(feature = "media")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transport {
    /// UDP, and TCP when no packets arrive.
    Auto,
    Tcp,
    Udp,
}

/// The choices of `--on-loss`.
#[cfg(feature = "media")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Loss {
    Card,
    Hold,
    End,
}

#[cfg(feature = "media")]
fn stall(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> =
        text.parse().ok().filter(|s| *s == 0.0 || (0.5..=3600.0).contains(s));
    let seconds = seconds.ok_or_else(|| "expected seconds from 0.5 to 3600, or 0".to_owned())?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(feature = "media")]
fn segment(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).ok();
    let length = length.filter(|length| (1..=7 * 24 * 3600).contains(&length.as_secs()));
    length.ok_or_else(|| "expected a length from 1s to 7d: 90s, 10m, 1h30m".to_owned())
}

#[cfg(feature = "media")]
fn gop(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| "expected seconds from 0.1 to 60".to_owned())?;
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(feature = "media")]
impl LiveArgs {
    /// How the page is served, if it is.
    ///
    /// # Errors
    /// When the token is too short, or not where it is said to be.
    pub(super) fn control(&self) -> Result<Option<ControlOptions>, UsageError> {
        let Some(address) = self.control.clone() else { return Ok(None) };
        let token = self.control_token.as_ref().map(|token| token.parse::<Token>()).transpose();
        Ok(Some(ControlOptions {
            address,
            tls: self.tls_cert.clone().zip(self.tls_key.clone()),
            token: token.map_err(|why| UsageError(format!("--control-token: {why}")))?,
            hosts: self.control_host.clone(),
        }))
    }

    /// Time between key frames of what these outputs send.
    pub(super) fn key_interval(&self, outputs: &[OutputSpec]) -> Duration {
        let serves = outputs.iter().any(|output| matches!(output, OutputSpec::Serve(_)));
        self.gop.unwrap_or(Duration::from_secs(if serves { 1 } else { 2 }))
    }

    /// Whether a page is served.
    pub(super) fn is_controlled(&self) -> bool {
        self.control.is_some()
    }

    /// Whether a file is played again and again.
    pub fn is_looped(&self) -> bool {
        self.looped
    }

    /// True when outputs are given besides `--output`.
    pub fn has_outputs(&self) -> bool {
        !self.push.is_empty() || !self.pipeline_sink.is_empty()
    }

    /// The options of a live source, at this rate.
    ///
    /// # Errors
    /// When no camera has such a rate.
    pub(super) fn options(&self, rate: Option<FrameRate>) -> Result<LiveOptions, UsageError> {
        let fps = rate.map(|rate| rate.per_second().round() as u32);
        if fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
            return Err(UsageError("--fps: a camera gives 1 to 240 frames per second".to_owned()));
        }
        Ok(LiveOptions {
            requested: RequestedMode { size: self.size, fps },
            latency: Duration::from_millis(self.latency),
            tcp: match self.rtsp_transport {
                Transport::Auto => None,
                Transport::Tcp => Some(true),
                Transport::Udp => Some(false),
            },
            loss: LossOptions {
                on_loss: match self.on_loss {
                    Loss::Card => OnLoss::Card,
                    Loss::Hold => OnLoss::Hold,
                    Loss::End => OnLoss::End,
                },
                stall: (!self.stall.is_zero()).then_some(self.stall),
                retries: self.retries,
                looped: self.looped,
            },
        })
    }
}
