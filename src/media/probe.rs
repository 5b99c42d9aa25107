//! What this GStreamer installation can do.

use gstreamer as gst;

use super::error::PipelineError;
use super::packages;

/// An element the program uses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Element {
    /// Its name in GStreamer.
    pub name: &'static str,
    /// What it is used for.
    pub purpose: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// Whether it is there.
    pub present: bool,
}

/// GStreamer's version.
///
/// # Errors
/// When GStreamer cannot start.
pub fn version() -> Result<String, PipelineError> {
    super::init()?;
    let (major, minor, micro, _) = gst::version();
    Ok(format!("{major}.{minor}.{micro}"))
}

/// Every element the program may use.
///
/// # Errors
/// When GStreamer cannot start.
pub fn elements() -> Result<Vec<Element>, PipelineError> {
    super::init()?;
    let element = |&(name, package, purpose): &(&'static str, &'static str, &'static str)| {
        let present = gst::ElementFactory::find(name).is_some();
        Element { name, purpose, package, present }
    };
    Ok(packages::ELEMENTS.iter().map(element).collect())
}

/// Names of all video decoders (`encoders` false) or encoders, best rank first.
///
/// # Errors
/// When GStreamer cannot start.
pub fn video_codecs(encoders: bool) -> Result<Vec<String>, PipelineError> {
    super::init()?;
    let kind = if encoders {
        gst::ElementFactoryType::VIDEO_ENCODER
    } else {
        gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO
    };
    let factories = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL);
    use gst::prelude::*;
    Ok(factories.iter().map(|f| f.name().to_string()).collect())
}
