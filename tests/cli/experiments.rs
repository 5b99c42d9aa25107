//! experiments/*.toml: the recipes of the pictures in docs/.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use nst_stream::cli::Cli;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn experiments() -> Vec<(PathBuf, toml::Table)> {
    let files = fs::read_dir(root().join("experiments")).unwrap().map(|file| file.unwrap().path());
    let recipes = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    recipes
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let table = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path, table)
        })
        .collect()
}

fn texts(value: &toml::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_program_takes_every_command_line_of_an_experiment() {
    let experiments = experiments();
    assert!(experiments.len() > 5, "{experiments:?}");
    for (path, experiment) in experiments {
        for step in experiment["step"].as_array().unwrap() {
            let Some(run) = step.get("run") else { continue };
            let args = ["nst-stream"].into_iter().chain(texts(run));
            if let Err(error) = Cli::try_parse_from(args) {
                panic!("{}: {error}", path.display());
            }
        }
    }
}

#[test]
fn every_picture_of_the_pages_is_there_and_made_by_an_experiment() {
    let experiments = experiments();
    let steps = experiments.iter().flat_map(|(_, e)| e["step"].as_array().unwrap());
    let made: Vec<&str> = steps.filter_map(|step| step["makes"].as_str()).collect();
    let mut shown = 0;
    for page in ["docs/paper.md", "docs/colour.md", "docs/control.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let links = text.split("![").skip(1).map(|rest| rest.split_once("](").unwrap().1);
        for picture in links.map(|rest| format!("docs/{}", rest.split_once(')').unwrap().0)) {
            assert!(root().join(&picture).is_file(), "{page} shows {picture}");
            assert!(made.contains(&picture.as_str()), "nothing makes {picture} of {page}");
            shown += 1;
        }
    }
    assert!(shown > 5, "{shown}");
}

#[test]
fn the_runner_prints_what_it_would_run_and_names_the_folder_it_lacks() {
    let runner = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.arg("scripts/experiment.py").args(args).current_dir(root());
        let made = command.env_remove("PHOTOS").env("STYLES", "/styles").output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (made.status.code(), text(&made.stdout), text(&made.stderr))
    };
    let (code, printed, _) = runner(&["hybrid", "--dry-run", "--program", "/bin/nst"]);
    assert_eq!(code, Some(0));
    let line = printed.lines().next().unwrap();
    assert!(
        line.starts_with("/bin/nst train --style models/styles/mosaic.jpg:0.3 --style /styles/"),
        "{line}"
    );
    assert!(line.contains(" /styles/starry_night.jpg") && line.contains(" --dataset "), "{line}");

    let (code, _, said) = runner(&["hybrid", "--program", "/bin/nst"]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("hybrid needs PHOTOS=<folder>"), "{said}");
    let (code, _, said) = runner(&["nothing"]);
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("no experiment 'nothing'"), "{said}");
}
