//! Ctrl-C, whether it comes as a signal or as a key of a terminal in raw mode.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::stop::{Interruption, StopSignal};
use crate::timeouts::LAST_WORDS;

/// Signals that come closer together are one request.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// Ends the run at the user's request: in order at the first, and the process at the second, whatever
/// the program is doing then.
#[derive(Clone)]
pub(super) struct Interrupts {
    stop: StopSignal,
    kept: &'static str,
    first: Arc<Mutex<Option<Instant>>>,
}

impl Interrupts {
    /// Watches for Ctrl-C and SIGTERM; `kept` says what there is after the second.
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

    /// The user asks for the end. Does not return when that is the second time.
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
                super::keys::restore();
                let kept = match abandoned.notes.is_empty() {
                    true => self.kept.to_owned(),
                    false => abandoned.notes.join("; "),
                };
                say(format!("stopped at once; {kept}"));
                // Not std's exit: C++ destructors would run under the feet of working threads.
                signal_hook::low_level::exit(130);
            }
        }
    }
}

/// To stderr, whether or not anybody reads: a full pipe must not hold up the end.
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
        let _ = said.recv_timeout(LAST_WORDS);
    }
}
