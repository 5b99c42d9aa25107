//! What README and the pages of docs/ show: commands that the program takes, links that lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use nst_stream::cli::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README, the other pages beside it, and those of docs/, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let folders = [root().to_owned(), root().join("docs"), root().join("docs/decisions")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = files.map(|file| file.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The arguments of each call of the program in the code blocks of a page.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    // A line that ends in a backslash goes on in the next one.
    let text = text.replace("\\\n    ", " ");
    for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
        // A comment at the end of a line is none of the command's.
        let line = line.split("  #").next().unwrap_or(line);
        for part in line.split(" | ").map(str::trim).filter(|part| part.starts_with("nst-stream "))
        {
            commands.push(part.split_whitespace().map(|word| word.replace('\'', "")).collect());
        }
    }
    commands
}

#[test]
fn the_program_takes_every_command_that_a_page_shows() {
    let mut taken = 0;
    for (page, text) in pages() {
        for command in
            commands(&text).into_iter().filter(|command| !command.contains(&"…".to_owned()))
        {
            if let Err(error) = Cli::try_parse_from(&command) {
                panic!("{}: {}: {error}", page.display(), command.join(" "));
            }
            taken += 1;
        }
    }
    assert!(taken > 30, "{taken}");
}

#[test]
fn every_link_between_pages_leads_to_a_file() {
    let mut followed = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            let file = link.split('#').next().unwrap();
            if file.contains("://") || file.is_empty() {
                continue;
            }
            assert!(page.with_file_name(file).exists(), "{}: {link}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed}");
}

/// The text of every Rust file below a folder.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for path in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all
}

#[test]
fn every_test_and_file_that_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.len() < 16_000, "{} bytes: it is to be read in one go", text.len());
    let (_, table) = text.split_once("## Invariants").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let code = sources(&root().join("src")) + &sources(&root().join("tests"));
    let named: Vec<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() > 2 && !name.contains(' '))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "there is no test {name}");
    }
    let files = text.split('`').skip(1).step_by(2);
    let files = files.filter(|name| name.ends_with(".rs") && !name.contains([' ', '*']));
    for file in files {
        let places = ["", "src", "src/stream", "src/train"].map(|at| root().join(at).join(file));
        assert!(places.iter().any(|place| place.is_file()), "there is no {file}");
    }
}
