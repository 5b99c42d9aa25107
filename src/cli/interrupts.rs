//! Ctrl-C, as a signal or as a key of a terminal in raw mode, and SIGTERM.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::core::stop::{Interruption, StopSignal};
use crate::core::timeouts::LAST_MESSAGE;

/// Signals within this time count as one request.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// Passes the user's requests to the stop signal: the first ends the run in order, the second ends the process at
/// once, whatever it is doing.
#[derive(Clone)]
pub(super) struct Interrupts {
    stop: StopSignal,
    kept: &'static str,
    first: Arc<Mutex<Option<Instant>>>,
}

impl Interrupts {
    /// Watches for Ctrl-C and SIGTERM; `kept` says what is left after the second.
    ///
    /// # Errors
    /// When no handler can be installed.
    pub fn watch(kept: &'static str) -> Result<Self> {
        let interrupts = Interrupts { stop: StopSignal::default(), kept, first: Arc::default() };
        let requested = interrupts.clone();
        ctrlc::set_handler(move || requested.request()).context("cannot watch for Ctrl-C")?;
        Ok(interrupts)
    }

    /// What ends the run.
    pub fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Handles a request to end. Does not return from the second one.
    pub fn request(&self) {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        // Some send one request twice: `timeout -s INT` to the program and to its process group.
        if first.is_some_and(|first| first.elapsed() < SAME_REQUEST) {
            return;
        }
        match self.stop.interrupt() {
            Interruption::InOrder => {
                *first = Some(Instant::now());
                say("finishing what has been made so far; interrupt again to stop at once"
                    .to_owned());
            }
            Interruption::AtOnce(abandoned) => {
                #[cfg(feature = "media")]
                super::terminal::leave_raw_mode();
                let kept = match abandoned.notes.is_empty() {
                    true => self.kept.to_owned(),
                    false => abandoned.notes.join("; "),
                };
                say(format!("stopped at once; {kept}"));
                // Not std's exit: it would run C++ destructors while threads still work.
                signal_hook::low_level::exit(130);
            }
        }
    }
}

/// Prints to stderr, but does not wait for a reader: a full pipe must not delay the end.
fn say(text: String) {
    let (done, said) = channel();
    let write = move || {
        let mut stderr = std::io::stderr();
        // A terminal may be in raw mode: then a new line does not begin at the left.
        let line = if stderr.is_terminal() { "\r\n" } else { "\n" };
        let _ = write!(stderr, "{line}nst-stream: {text}{line}");
        let _ = done.send(());
    };
    if thread::Builder::new().name("say".into()).spawn(write).is_ok() {
        let _ = said.recv_timeout(LAST_MESSAGE);
    }
}
