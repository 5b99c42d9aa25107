//! Runs that join media and engine: files, live sources, pictures.
//!
//! - [`run()`]: runs a configuration
//! - `models`: opens models; `model_fallback`: chooses, live, between a model and its lite version
//! - `video`, `live`: a run of either kind, from opening to end; [`RunContext`]: what all parts of it
//!   share; `supervisor`: the event loop; `finish`: last steps of a file
//! - `outputs`: the outputs of a live run (`output_opener` opens them, `recording` is a live file, `pieces` one in pieces,
//!   `closing_outputs` their end)
//! - `video_job`, `live_job`: parameters of such a run; `output_end`: how a live output ended;
//!   `no_signal`: pictures while a live source delivers nothing
//! - `path_kinds`: kinds of inputs and outputs; `sources` and `sinks` open those of a video
//! - [`LiveControls`]: what steers and watches a live run (`live_monitor`: pictures and times, `output_status`)
//! - [`Regions`]: a model for each region of a mask; `live_settings`, `adapt`: what changes during a live
//!   run
//! - `still`: one picture; `pictures`: many
//! - `parts`: long videos in parts
//! - [`PartialFile`]: no unfinished file under a final name

#[cfg(feature = "media")]
mod adapt;
#[cfg(feature = "media")]
mod closing_outputs;
mod context;
#[cfg(feature = "media")]
mod feeder;
#[cfg(feature = "media")]
mod finish;
#[cfg(feature = "media")]
mod live;
#[cfg(feature = "media")]
mod live_controls;
#[cfg(feature = "media")]
mod live_job;
#[cfg(feature = "media")]
mod live_models;
mod live_monitor;
#[cfg(feature = "media")]
mod live_settings;
#[cfg(feature = "media")]
mod model_fallback;
mod models;
#[cfg(feature = "media")]
mod no_signal;
#[cfg(feature = "media")]
mod output_end;
#[cfg(feature = "media")]
mod output_opener;
#[cfg(feature = "media")]
mod output_status;
#[cfg(feature = "media")]
mod outputs;
mod partial;
#[cfg(feature = "media")]
pub mod parts;
mod path_kinds;
mod pictures;
#[cfg(feature = "media")]
mod pieces;
#[cfg(feature = "media")]
mod recording;
mod regions;
mod run;
#[cfg(feature = "media")]
mod sinks;
#[cfg(feature = "media")]
mod snapshot;
#[cfg(feature = "media")]
mod sources;
mod still;
#[cfg(feature = "media")]
mod supervisor;
#[cfg(feature = "media")]
mod video;
#[cfg(feature = "media")]
mod video_job;

pub use context::RunContext;
#[cfg(feature = "media")]
pub use live::stylize_live;
#[cfg(feature = "media")]
pub use live_controls::LiveControls;
#[cfg(feature = "media")]
pub use live_job::LiveJob;
#[cfg(feature = "media")]
pub use live_models::LiveModels;
pub use live_monitor::{LiveMonitor, LivePicture, LiveRequest, StageTimes};
#[cfg(feature = "media")]
pub use live_settings::{Adjustable, CrossFade, LiveSettings, SharedSettings};
#[cfg(feature = "media")]
pub use model_fallback::{Candidates, ChosenModels, SourceRate};
pub use models::{EngineOptions, ModelChoice};
#[cfg(feature = "media")]
pub use output_status::{OutputState, OutputStatus, RecordingStatus};
pub use partial::PartialFile;
pub use path_kinds::{InputKind, OutputKind, Pictures};
pub use pictures::stylize_pictures;
pub use regions::{MOST_REGIONS, RegionSetting, RegionSettings, Regions};
pub use run::{Config, run};
#[cfg(feature = "media")]
pub use run::{LiveConfig, run_live};
#[cfg(feature = "media")]
pub use sinks::FrameReader;
#[cfg(feature = "media")]
pub use snapshot::SnapshotRequest;
pub use still::stylize_picture;
#[cfg(feature = "media")]
pub use video::{read_frames, stylize_video};
#[cfg(feature = "media")]
pub use video_job::{TimedPictures, VideoJob};

use crate::core::stats::Stats;

/// Progress of a run.
pub struct Progress<'a> {
    /// Counters.
    pub stats: &'a Stats,
    /// Frames expected in all, if known.
    pub total: Option<u64>,
}

/// Status of a live run.
#[cfg(feature = "media")]
#[derive(Clone, Debug)]
pub struct LiveStatus {
    /// Frames that came from the source.
    pub captured: u64,
    /// Frames that went to the outputs.
    pub sent: u64,
    /// Frames that outputs have taken; it stands still while they take none.
    pub delivered: u64,
    /// Frames dropped before the network.
    pub dropped: u64,
    /// Frames that wait for the network now.
    pub waiting: u64,
    /// Frames dropped by each output, in the order of the outputs.
    pub dropped_by_outputs: Vec<u64>,
    /// Median and 99th percentile of the delay of the last frames, from capture to encoder output.
    pub delay: Option<(std::time::Duration, std::time::Duration)>,
    /// What has become of each output; recordings that were begun meanwhile come last.
    pub outputs: Vec<OutputStatus>,
    /// The recording that was begun meanwhile and goes on.
    pub recording: Option<RecordingStatus>,
    /// Clients of the RTSP servers, where there are any.
    pub clients: Option<usize>,
    /// How often and how long the source was lost.
    pub losses: crate::core::signal::Losses,
    /// The current settings: model, scale, strength, colours.
    pub settings: LiveSettings,
    /// Names of the models that paint, joined.
    pub painting: String,
}

/// Receives notes and the progress of a run, for the user.
pub trait Observer {
    /// A line the user should see.
    fn note(&mut self, text: &str);
    /// A line worth showing once the run goes well; left out after an early error.
    fn aside(&mut self, text: &str) {
        self.note(text);
    }
    /// Called about ten times per second.
    fn progress(&mut self, progress: &Progress);
    /// Called about ten times a second while the index of the finished file `name` goes to its front;
    /// how much of that is done, 0–1.
    fn remuxing(&mut self, _name: &str, _share: f64) {}
    /// Called about twice a second while live.
    #[cfg(feature = "media")]
    fn live(&mut self, _status: &LiveStatus) {}
    /// Called when a live run begins to end.
    #[cfg(feature = "media")]
    fn stopping(&mut self) {}
}
