//! A long video in parts, which several machines paint.
//!
//! - [`plan`]: the plan of a job, what lies in its folder
//! - `split`: where parts begin; `render`: paints one; `join`: puts them together

mod join;
pub mod plan;
mod render;
mod split;

pub use join::{JoinJob, join};
pub use render::{arithmetic, render};
pub use split::{PartLength, SplitJob, VideoFrames, plan_parts, read_times};
