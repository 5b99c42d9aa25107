//! What a live run does: source, outputs, options.

use std::path::PathBuf;
use std::time::Duration;

use crate::core::encoding::{Encoding, StreamEncoding};
use crate::core::endpoint::{InputSpec, OutputSpec};
use crate::core::regions::Mask;
use crate::media::PipelineRole;
use crate::media::live::LiveOptions;

/// Source, outputs and options of a live run.
#[derive(Debug, Clone)]
pub struct LiveJob {
    /// Where frames come from.
    pub input: InputSpec,
    /// Where they go; none where somebody watches the run itself.
    pub outputs: Vec<OutputSpec>,
    /// How the source is opened.
    pub options: LiveOptions,
    /// Lower the scale when the network cannot keep up, raise it when it can.
    pub adapt: bool,
    /// With `--mask`: the regions that the settings say a model for.
    pub mask: Option<Mask>,
    /// Replace existing files.
    pub overwrite: bool,
    /// Record in pieces of this length.
    pub segment: Option<Duration>,
    /// How files are encoded.
    pub encoding: Encoding,
    /// How streams that are sent are encoded.
    pub streams: StreamEncoding,
    /// Folder for pipeline graphs.
    pub dump_dot: Option<PathBuf>,
}

impl LiveJob {
    /// Message prefix that names the part of the run that failed.
    pub(super) fn failure_context(&self, role: PipelineRole) -> String {
        match role {
            PipelineRole::Sink(number) => match self.outputs.get(number) {
                Some(output) => format!("'{output}' failed"),
                None => "an output failed".to_owned(),
            },
            PipelineRole::Source | PipelineRole::Track(_) | PipelineRole::Remux => {
                format!("'{}' failed", self.input)
            }
        }
    }
}
