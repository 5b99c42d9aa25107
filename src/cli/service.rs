//! A live run as a service: tells systemd (or whoever has set NOTIFY_SOCKET) when it is ready, how it goes and that it
//! is alive.

use sd_notify::NotifyState;

/// The side of a run that a service manager sees.
pub struct Service {
    /// Frames that outputs had taken at the last sign of life.
    delivered: u64,
    ready: bool,
}

impl Service {
    /// Of a run that a service manager has started; none if there is none.
    pub fn of_environment() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET").map(|_| Service { delivered: 0, ready: false })
    }

    /// Tells that the run is ready once outputs have taken a frame, and a sign of life whenever they have taken more of
    /// them. Frames that stand still give none.
    pub fn flows(&mut self, delivered: u64) {
        if std::mem::replace(&mut self.delivered, delivered) == delivered {
            return;
        }
        if !std::mem::replace(&mut self.ready, true) {
            tell(NotifyState::Ready);
        }
        tell(NotifyState::Watchdog);
    }

    /// Tells how the run goes.
    pub fn status(&self, text: &str) {
        tell(NotifyState::Status(text));
    }

    /// Tells that the run is about to end.
    pub fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState) {
    // The run is worth more than its being watched.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}
