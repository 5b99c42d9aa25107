//! The `nst-stream` program: parse, log, run, exit code.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;

use nst_stream::cli::{Cli, Outcome, UsageError};
use nst_stream::engine::device::working_folder;

/// Exit codes; scripts rely on them.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() {
    let code = run();
    let _ = std::io::stdout().flush();
    // Not std's exit, which runs C++ destructors while threads may still use what they destroy: those of GStreamer and
    // libtorch, and those that hang and were left to themselves.
    signal_hook::low_level::exit(code.into());
}

/// Runs the program. Returns its exit code.
fn run() -> u8 {
    let cli = Cli::from_process();
    log(cli.verbose, cli.quiet);
    if working_folder::is_gone() {
        let text = "nst-stream: the working folder no longer exists: change to another one";
        let _ = writeln!(std::io::stderr(), "{text}");
        return FAILED;
    }
    // A file that grows beyond `ulimit -f` is then an error of whoever writes it, not the end of all.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    match nst_stream::cli::run(cli) {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::Interrupted) => INTERRUPTED,
        Err(error) => {
            // Not eprintln!, which panics when nobody reads.
            let _ = writeln!(std::io::stderr(), "nst-stream: {error:#}");
            if error.is::<UsageError>() { WRONG_USAGE } else { FAILED }
        }
    }
}

fn log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "nst_stream=info,warn",
        (false, _) => "nst_stream=debug,warn",
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
}
