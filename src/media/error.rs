//! What went wrong in a pipeline, in words a user can act on.

use gst::prelude::*;
use gstreamer as gst;

use super::advice;
use super::packages;

/// An error of a pipeline: which element, what, and GStreamer's own details.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{error}")]
pub struct PipelineError {
    /// The element (or the part of the program) that failed.
    pub element: String,
    /// One line: what happened and what to do.
    pub error: String,
    /// GStreamer's details, for `-v`.
    pub debug: Option<String>,
    /// What kind of failure, where the caller acts on it.
    pub kind: ErrorKind,
}

/// The kinds of failure that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorKind {
    /// Anything else.
    #[default]
    Other,
    /// A decoder, encoder or other plugin is not installed.
    MissingPlugin,
    /// The disk is full.
    NoSpace,
    /// The file has no video track.
    NoVideo,
    /// The data is damaged or of no known format.
    Damaged,
    /// A server knows no such stream, or wants another user or password.
    Refused,
    /// The run was stopped.
    Stopped,
}

impl PipelineError {
    /// An error found by the program itself, not by GStreamer.
    pub fn new(element: impl Into<String>, error: impl Into<String>) -> Self {
        PipelineError {
            element: element.into(),
            error: error.into(),
            debug: None,
            kind: ErrorKind::Other,
        }
    }

    /// The run was stopped while the program waited for something.
    pub fn stopped() -> Self {
        PipelineError::new("stop", "it was stopped").of_kind(ErrorKind::Stopped)
    }

    /// The same error, of another kind.
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The kind of decoder that failed, if it was one.
    pub(super) fn decoder(&self) -> Option<String> {
        let name = self.element.trim_end_matches(|c: char| c.is_ascii_digit());
        let factory = gst::ElementFactory::find(name)?;
        factory.has_type(gst::ElementFactoryType::DECODER).then(|| name.to_owned())
    }

    /// From an error message on a bus.
    pub fn from_message(message: &gst::message::Error) -> Self {
        let error = message.error();
        let kind = if error.matches(gst::ResourceError::NoSpaceLeft) {
            ErrorKind::NoSpace
        } else if error.matches(gst::CoreError::MissingPlugin)
            || error.matches(gst::StreamError::CodecNotFound)
        {
            ErrorKind::MissingPlugin
        } else if error.matches(gst::ResourceError::NotAuthorized)
            || error.matches(gst::ResourceError::NotFound)
        {
            ErrorKind::Refused
        } else if error.domain() == gst::StreamError::domain() {
            ErrorKind::Damaged
        } else {
            ErrorKind::Other
        };
        let text = if error.matches(gst::StreamError::TypeNotFound) {
            "its video format is unknown".to_owned()
        } else {
            let details = message.debug();
            advice::in_words(error.message(), details.as_deref().unwrap_or_default())
        };
        let element = message.src().map_or_else(|| "pipeline".to_owned(), |s| s.name().to_string());
        PipelineError { error: text, debug: message.debug().map(|d| d.to_string()), element, kind }
    }

    /// From a `missing-plugin` message: names what is missing and the package that brings it.
    pub fn from_missing_plugin(structure: &gst::StructureRef) -> Option<Self> {
        if structure.name() != "missing-plugin" {
            return None;
        }
        let what = structure.get::<String>("name").unwrap_or_else(|_| "a plugin".to_owned());
        // For a decoder or demuxer the detail is caps, for an element its name.
        let caps = structure.get::<gst::Caps>("detail").ok();
        let format = caps.as_ref().and_then(|c| c.structure(0)).map(|s| s.name().to_string());
        let element = structure.get::<String>("detail").ok();
        let package = match (&format, &element) {
            (Some(format), _) => packages::for_format(format),
            (None, Some(element)) => packages::for_element(element),
            (None, None) => None,
        };
        let what = what.trim_end_matches('.');
        // decodebin also posts this if a decoder is installed but refuses the stream.
        if caps.as_ref().is_some_and(is_decoded) {
            let error = format!(
                "the installed {what} refuses it: it may not support this size or profile, or the file is damaged"
            );
            return Some(PipelineError::new("decodebin", error).of_kind(ErrorKind::MissingPlugin));
        }
        if let Some(code) = caps.as_ref().and_then(unnamed) {
            let error = format!(
                "GStreamer cannot decode {code}; convert it first (`ffmpeg -i IN -c:v ffv1 -c:a copy \
                 OUT.mkv`)"
            );
            return Some(PipelineError::new("decodebin", error).of_kind(ErrorKind::MissingPlugin));
        }
        let remedy = package.map_or_else(
            || "find the GStreamer plugin for it".to_owned(),
            |package| format!("install {package}"),
        );
        let error = format!("no {what}; {remedy}");
        Some(PipelineError::new("decodebin", error).of_kind(ErrorKind::MissingPlugin))
    }
}

/// The FourCC of a codec that no demuxer has a name for; no package contains a decoder for it.
fn unnamed(caps: &gst::Caps) -> Option<String> {
    let format = caps.structure(0)?;
    if let Some(code) = format.name().strip_prefix("video/x-gst-fourcc-") {
        return Some(code.to_owned());
    }
    match format.name().as_str() {
        "video/x-avi-unknown" => {
            let code = format.get::<i32>("fourcc").ok()?.to_le_bytes();
            Some(String::from_utf8_lossy(&code).into_owned())
        }
        "video/x-unknown" => {
            let fourcc = format.get::<String>("fourcc").or_else(|_| format.get("codec-id"));
            Some(fourcc.unwrap_or_else(|_| "its codec".to_owned()))
        }
        _ => None,
    }
}

/// Whether a decoder for this format is installed.
fn is_decoded(caps: &gst::Caps) -> bool {
    let kind = gst::ElementFactoryType::DECODER;
    let all = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL);
    all.iter().any(|factory| factory.can_sink_any_caps(caps))
}
