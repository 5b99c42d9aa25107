//! docs/options.md is made of the same text as `--help`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};
use nst_stream::cli::Cli;

const START: &str = "# Options\n\n\
    Every command and option, as `--help` shows them. Written by `make docs`: do not edit it by hand.\n";

/// The page, a section for each command.
fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut text = START.to_owned();
    section(&mut text, "nst-stream", &cli);
    text
}

fn section(text: &mut String, name: &str, command: &Command) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    writeln!(text, "\n## {name}\n\n{about}.").unwrap();
    let mut headings: Vec<&str> = Vec::new();
    let shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    // Global options stand once, under the program itself.
    let own = |arg: &&Arg| shown(arg) && (name == "nst-stream" || !arg.is_global_set());
    for arg in command.get_arguments().filter(own) {
        let heading = heading_of(arg);
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    for heading in headings {
        writeln!(text, "\n**{heading}**\n\n| option | default | meaning |\n|---|---|---|").unwrap();
        for arg in command.get_arguments().filter(own).filter(|arg| heading_of(arg) == heading) {
            let (default, meaning) = explained(arg);
            writeln!(text, "| {} | {default} | {meaning} |", written(arg)).unwrap();
        }
    }
    for subcommand in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        section(text, &format!("{name} {}", subcommand.get_name()), subcommand);
    }
}

fn heading_of(arg: &Arg) -> &str {
    let usual = if arg.is_positional() { "Arguments" } else { "Options" };
    arg.get_help_heading().unwrap_or(usual)
}

/// `-m`, `--model MODEL`
fn written(arg: &Arg) -> String {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    // A bar would end the cell.
    let value = value.replace('|', "\\|");
    if arg.is_positional() {
        return format!("`{value}`");
    }
    let short = arg.get_short().map_or(String::new(), |short| format!("`-{short}`, "));
    let long = arg.get_long().unwrap();
    if takes { format!("{short}`--{long} {value}`") } else { format!("{short}`--{long}`") }
}

/// The default and the meaning of an argument.
fn explained(arg: &Arg) -> (String, String) {
    let help = arg.get_help().unwrap_or_else(|| panic!("{} has no help", arg.get_id())).to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    // In Markdown this would be a tag.
    assert!(!help.contains('<'), "{help}");
    let given = arg.get_default_values().iter().map(|value| value.to_str().unwrap());
    let given = given.collect::<Vec<_>>().join(", ");
    match help.split_once(" [default: ") {
        Some((meaning, default)) => {
            assert!(given.is_empty(), "{} has two defaults", arg.get_id());
            let default = default.strip_suffix(']').unwrap_or_else(|| panic!("{help}"));
            (default.to_owned(), meaning.to_owned())
        }
        None if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) => {
            (String::new(), help)
        }
        None => (given, help),
    }
}

#[test]
fn the_page_of_options_is_what_the_program_knows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/options.md");
    let page = page();
    if std::env::var_os("WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/options.md is stale: run `make docs`");
    for option in
        ["`--rtsp-push URL`", "`--style-size PX`", "nst-stream models export", "30000/1001"]
    {
        assert!(page.contains(option), "{option} is not in\n{page}");
    }
}

/// Options are described in one form: an imperative or a noun, without a full stop.
#[test]
fn every_help_text_is_in_one_form() {
    fn check(command: &Command) {
        let texts = command.get_arguments().filter_map(|arg| arg.get_help());
        for text in texts.chain(command.get_about()).map(ToString::to_string) {
            assert!(!text.ends_with('.') && !text.is_empty(), "{text}");
            assert!(text.starts_with(|c: char| c.is_uppercase() || c == '`'), "{text}");
        }
        command.get_subcommands().for_each(check);
    }
    let mut cli = Cli::command();
    cli.build();
    check(&cli);
}
