//! The command line: arguments → a checked configuration; nothing else.

mod bench;
mod encoding;
mod evaluate;
#[cfg(feature = "media")]
mod evaluate_video;
mod files;
mod interrupts;
#[cfg(feature = "media")]
mod keys;
#[cfg(feature = "media")]
mod live;
mod losses;
mod manual;
pub mod models;
mod optimize;
mod outcome;
#[cfg(feature = "media")]
mod parts;
mod probe;
mod progress;
mod regions;
#[cfg(feature = "media")]
mod service;
#[cfg(feature = "media")]
mod sheet;
mod stream;
mod stream_args;
mod styles;
#[cfg(feature = "media")]
mod terminal;
mod text;
mod texture;
mod train;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Repaint videos in the style of a picture, from files or live
#[derive(Debug, Parser)]
#[command(
    name = "nst-stream",
    version = env!("NST_VERSION"),
    override_usage = "nst-stream --model <MODEL> | --style <PICTURE> --input <INPUT> [--output <OUTPUT>] [OPTIONS]\n       \
        nst-stream <COMMAND>",
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        nst-stream --model mosaic --input in.mp4 --output out.mp4\n  \
        nst-stream --style wave.jpg --input in.mp4 --output out.mp4\n  \
        nst-stream --model mosaic --input in.mp4 --output look.png --preview 12.5\n  \
        nst-stream --model my.pt --input photo.jpg --output painted.png --preserve-color\n  \
        nst-stream --model mosaic --input frames/ --output painted/\n  \
        ffmpeg -i in.mp4 -f yuv4mpegpipe - | nst-stream --model mosaic --input - --output out.mp4\n  \
        nst-stream --mask sky.png --model mosaic@white --model none@black --input in.mp4 --output out.mp4\n  \
        nst-stream --model mosaic --input /dev/video0\n  \
        nst-stream --model mosaic --input rtsp://cam/1 --output rtsp://0.0.0.0:8554/art"
)]
pub struct Cli {
    /// Print more details (-vv for even more)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    stream: stream_args::StreamArgs,
}

impl Cli {
    /// The arguments of this process. Exits by itself: with 0 after --help and --version, with 2 for
    /// wrong usage.
    pub fn from_process() -> Self {
        Self::from_args(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Parses arguments, of which the first is the program's name.
    fn from_args<T: Into<OsString> + Clone>(
        args: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let mut matches = command.try_get_matches_from_mut(args)?;
        // What clap's `args_conflicts_with_subcommands` would check, but for global options.
        if let Some(subcommand) = matches.subcommand_name() {
            let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            let mut own = command.get_arguments().filter(|arg| !arg.is_global_set());
            let found = own.find(|arg| given(arg.get_id().as_str())).map(ToString::to_string);
            drop(own);
            if let Some(arg) = found {
                let text = format!("the subcommand '{subcommand}' cannot be used with '{arg}'");
                return Err(command.error(ErrorKind::ArgumentConflict, text));
            }
        }
        let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if matches.subcommand_name().is_none() && !given("input") && !given("pipeline_source") {
            let text = "the following required arguments were not provided:\n  --input <INPUT>";
            return Err(command.error(ErrorKind::MissingRequiredArgument, text));
        }
        #[cfg(feature = "media")]
        let options = parts::options_of_split(&command, &matches).map_err(|option| {
            let text = format!("{option} is for live runs or pictures: only videos are split");
            command.error(ErrorKind::ArgumentConflict, text)
        })?;
        let mut cli = Self::from_arg_matches_mut(&mut matches)?;
        #[cfg(feature = "media")]
        if let Some(Command::Split(args)) = &mut cli.command {
            args.options = options;
        }
        // Clap compares only options on the same side of the subcommand.
        if cli.quiet && cli.verbose > 0 {
            let text = "the argument '--quiet' cannot be used with '--verbose'";
            return Err(command.error(ErrorKind::ArgumentConflict, text));
        }
        Ok(cli)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a style model from one picture and a folder of photos
    Train(Box<train::TrainArgs>),
    /// Paint a picture or a video in the style of a picture by optimization: no model, slow, best quality
    Optimize(Box<optimize::OptimizeArgs>),
    /// Measure how well a model paints a style
    Evaluate(evaluate::EvaluateArgs),
    /// Measure how fast a model runs on this machine
    Bench(bench::BenchArgs),
    /// List, show, import, average and export style models
    Models(models::ModelsArgs),
    /// Make models that paint in the style of a picture, without training
    Styles(styles::StylesArgs),
    /// Make a texture of any size with a model trained on one
    Texture(texture::TextureArgs),
    /// Show what this installation can read and write, and what is missing (-v lists all codecs)
    Probe(probe::ProbeArgs),
    /// Draw frames of several videos as one picture, a row for each video
    #[cfg(feature = "media")]
    Sheet(sheet::SheetArgs),
    /// Split the work on a long video into parts, for several machines
    #[cfg(feature = "media")]
    #[command(mut_args(parts::hide_what_is_live))]
    Split(Box<parts::SplitArgs>),
    /// Paint a part of a split video, or all that are not painted yet
    #[cfg(feature = "media")]
    Part(parts::PartArgs),
    /// Show which parts of a split video are painted
    #[cfg(feature = "media")]
    Status(parts::StatusArgs),
    /// Put the painted parts of a split video together
    #[cfg(feature = "media")]
    Join(parts::JoinArgs),
    /// Write the manual pages of all commands
    #[command(hide = true)]
    Man(manual::ManArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a command that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Done,
    /// By Ctrl-C; what was painted before is finished.
    Interrupted,
}

/// Arguments that contradict each other or the files they name: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs a command.
///
/// # Errors
/// One line for the user; a [`UsageError`] when the arguments are to blame.
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    // libtorch loads CUDA only before its first call of any kind.
    crate::engine::device::prepare();
    match cli.command {
        None => stream::run(&cli.stream, cli.quiet),
        Some(Command::Train(args)) => train::run(&args, cli.quiet),
        Some(Command::Optimize(args)) => optimize::run(&args, cli.quiet),
        Some(Command::Evaluate(args)) => evaluate::run(&args, cli.quiet).map(|()| Outcome::Done),
        Some(Command::Bench(args)) => bench::run(&args, cli.quiet).map(|()| Outcome::Done),
        Some(Command::Models(args)) => models::run(args).map(|()| Outcome::Done),
        Some(Command::Styles(args)) => {
            print(&styles::run(&args)?)?;
            Ok(Outcome::Done)
        }
        Some(Command::Texture(args)) => texture::run(&args).map(|()| Outcome::Done),
        Some(Command::Probe(args)) => probe::run(&args, cli.verbose > 0).map(|()| Outcome::Done),
        #[cfg(feature = "media")]
        Some(Command::Sheet(args)) => sheet::run(&args).map(|()| Outcome::Done),
        #[cfg(feature = "media")]
        Some(Command::Split(args)) => parts::split(&args, cli.quiet),
        #[cfg(feature = "media")]
        Some(Command::Part(args)) => parts::part(&args, cli.quiet),
        #[cfg(feature = "media")]
        Some(Command::Status(args)) => parts::status(&args).map(|()| Outcome::Done),
        #[cfg(feature = "media")]
        Some(Command::Join(args)) => parts::join(&args, cli.quiet),
        Some(Command::Man(args)) => manual::write(&args).map(|()| Outcome::Done),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nst-stream", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Done)
        }
    }
}

/// Prints to stdout; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("cannot write to stdout"))
        }
        _ => Ok(()),
    }
}

/// Columns as wide as their widest cell, two spaces between.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["A", "B", "C"], ["long", "x", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "A     B  C\nlong  x\n");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_and_behind_every_subcommand() {
        let command = Cli::command();
        for subcommand in command.get_subcommands().map(clap::Command::get_name) {
            for (option, level) in [("-q", (true, 0)), ("-v", (false, 1)), ("-vv", (false, 2))] {
                let parse = |args: &[&str]| {
                    // What the subcommand itself requires is not the question here.
                    match Cli::from_args([&["nst-stream"], args].concat()) {
                        Ok(cli) => (cli.quiet, cli.verbose),
                        Err(error) => {
                            let required = [
                                ErrorKind::MissingRequiredArgument,
                                ErrorKind::MissingSubcommand,
                                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                            ];
                            assert!(required.contains(&error.kind()), "{args:?}: {error}");
                            level
                        }
                    }
                };
                assert_eq!(parse(&[option, subcommand]), level);
                assert_eq!(parse(&[subcommand, option]), level);
            }
        }
    }
}
