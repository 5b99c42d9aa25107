//! What a live run shares with those who steer and watch it.

use super::{LiveModels, LiveMonitor, LiveSettings, SharedSettings, SnapshotRequest};
use crate::media::webrtc::WebRtc;

/// The settings, the request for a snapshot, and what can be watched. Clones share them.
#[derive(Clone)]
pub struct LiveControls {
    /// The settings.
    pub wanted: SharedSettings,
    /// Requests a snapshot of the next frame.
    pub snapshot: SnapshotRequest,
    /// The run as it is seen from outside.
    pub monitor: LiveMonitor,
    /// Takes models that come while the run goes on.
    pub models: LiveModels,
    /// Browsers that watch by WebRTC, or send their camera; none where nobody can connect.
    pub webrtc: Option<WebRtc>,
}

impl LiveControls {
    /// Of a run that begins with these settings.
    pub fn new(settings: LiveSettings) -> Self {
        LiveControls {
            wanted: SharedSettings::new(settings),
            snapshot: SnapshotRequest::default(),
            monitor: LiveMonitor::default(),
            models: LiveModels::default(),
            webrtc: None,
        }
    }
}
