//! The `nst-stream` program: parse, log, run, exit code.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;

use nst_stream::cli::{Cli, Outcome, UsageError};
use nst_stream::core::stylizer::StylizeError;
use nst_stream::engine::device::working_folder;

/// Exit codes beside 0; scripts rely on them.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    log(cli.verbose, cli.quiet);
    if working_folder::is_gone() {
        let text = "nst-stream: the working folder no longer exists: change to another one";
        let _ = writeln!(std::io::stderr(), "{text}");
        return ExitCode::from(FAILED);
    }
    // A file that grows beyond `ulimit -f` is then an error of whoever writes it, not the end of all.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
    match nst_stream::cli::run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Not eprintln!, which panics when nobody reads.
            let _ = writeln!(std::io::stderr(), "nst-stream: {error:#}");
            if let Some(StylizeError::Hangs(_)) = error.downcast_ref() {
                // Not std's exit: it would run C++ destructors while the network still works.
                signal_hook::low_level::exit(i32::from(FAILED));
            }
            let usage = error.is::<UsageError>();
            ExitCode::from(if usage { WRONG_USAGE } else { FAILED })
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
