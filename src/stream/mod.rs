//! Joins media and engine: a file goes in, the stylized file comes out.
//!
//! - [`run`]: a configuration → what is made
//! - `video`: threads, queues and the order of shutting down
//! - `still`: pictures
//! - [`PartialFile`]: nothing half-made under a final name

mod partial;
mod run;
mod still;
#[cfg(feature = "media")]
mod video;

pub use partial::PartialFile;
pub use run::{Config, run};
pub use still::stylize_picture;
#[cfg(feature = "media")]
pub use video::{VideoJob, stylize_video};

use crate::stats::Stats;

/// How a run is going.
pub struct Progress<'a> {
    /// Counters.
    pub stats: &'a Stats,
    /// Frames to be made, where known.
    pub total: Option<u64>,
}

/// Who is told how a run is going.
pub trait Observer {
    /// Something the user should know, once.
    fn note(&mut self, text: &str);
    /// Called about ten times a second.
    fn progress(&mut self, progress: &Progress);
}
