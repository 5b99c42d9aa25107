//! Outputs that cannot or may not be written.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::common::{data, nst, output};
use super::{assert_says, files, folder, refusal, run, works};

fn refused(folder: &Path, code: i32, input: &str, output: &str, more: &[&str]) -> String {
    let line =
        refusal(folder, code, &[&["-m", "mosaic", "-i", input, "-o", output], more].concat());
    assert_says(&line, &[&format!("'{output}'")]);
    line
}

#[test]
fn an_output_whose_folder_is_missing_is_refused() {
    let folder = folder();
    for (input, output) in [("clip.mp4", "none/out.mp4"), ("cat.png", "none/deeper/out.png")] {
        let line = refused(folder.path(), 1, input, output, &[]);
        assert_says(&line, &["cannot write", "no folder 'none"]);
    }
    // A file where the folder should be.
    let line = refused(folder.path(), 1, "clip.mp4", "cat.png/out.mp4", &[]);
    assert_says(&line, &["cannot write", "no folder 'cat.png'"]);
}

/// Root may write into any folder of an ordinary disk, so the folder is one where the kernel itself
/// takes no files.
#[test]
fn an_output_whose_folder_is_not_writable_is_refused() {
    let folder = folder();
    let outputs =
        [("clip.mp4", "/proc/nst-stream-test.mp4"), ("cat.png", "/sys/nst-stream-test.png")];
    for (input, output) in outputs {
        if !Path::new(output).parent().is_some_and(Path::is_dir) {
            eprintln!("SKIPPED: '{output}' has no folder on this system");
            continue;
        }
        assert_says(&refused(folder.path(), 1, input, output, &[]), &["cannot write"]);
    }
}

#[test]
fn an_output_that_is_a_folder_is_refused() {
    let folder = folder();
    fs::create_dir(folder.path().join("folder.mp4")).unwrap();
    let line = refused(folder.path(), 1, "clip.mp4", "folder.mp4", &["--overwrite"]);
    assert_says(&line, &["cannot write", "is a folder"]);
}

#[test]
fn an_output_of_unknown_ending_is_a_usage_error_that_lists_the_known_ones() {
    let folder = folder();
    for output in ["out.avi", "out", ".mp4"] {
        let line = refused(folder.path(), 2, "clip.mp4", output, &[]);
        assert_says(&line, &[".mp4", ".mkv", ".png", ".jpg"]);
    }
}

#[test]
fn a_preview_is_not_written_as_a_video() {
    let folder = folder();
    let args = ["-m", "mosaic", "-i", "clip.mp4", "-o", "out.mp4", "--preview", "1"];
    assert_says(&refusal(folder.path(), 2, &args), &["--preview", ".png", ".jpg"]);
}

#[test]
fn the_input_is_never_the_output_neither_directly_nor_through_links() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("clip.mp4", at("soft.mp4")).unwrap();
    fs::hard_link(at("clip.mp4"), at("hard.mp4")).unwrap();
    let detour = format!("../{}/clip.mp4", folder.path().file_name().unwrap().to_str().unwrap());
    for (input, output, more) in [
        ("clip.mp4", "clip.mp4", &[][..]),
        ("clip.mp4", "clip.mp4", &["--overwrite"]),
        ("clip.mp4", &detour, &["--overwrite"]),
        ("clip.mp4", "soft.mp4", &["--overwrite"]),
        ("clip.mp4", "hard.mp4", &["--overwrite"]),
        ("soft.mp4", "clip.mp4", &["--overwrite"]),
        ("cat.png", "cat.png", &["--overwrite"]),
    ] {
        let args = [&["-m", "mosaic", "-i", input, "-o", output][..], more].concat();
        let line = refusal(folder.path(), 2, &args);
        assert_says(&line, &[&format!("'{input}'"), "both input and output"]);
    }
    assert!(at("soft.mp4").is_symlink());
}

#[test]
fn an_existing_output_is_replaced_only_when_asked() {
    let folder = folder();
    let work = folder.path();
    let ends: [(_, _, &[&str]); 2] =
        [("cat.png", "out.png", &[]), ("clip.mp4", "out.mp4", &["--duration", "0.1"])];
    for (input, output, part) in ends {
        fs::write(work.join(output), "earlier").unwrap();
        let line = refused(work, 1, input, output, &[]);
        assert_says(&line, &["already exists", "--overwrite"]);
        let short = ["--overwrite", "--strength", "0"];
        works(work, &[&["-m", "mosaic", "-i", input, "-o", output][..], &short, part].concat());
        let after = files(work);
        assert!(after[output].as_ref().unwrap().len() > 1000, "'{output}' is replaced");
        assert_eq!(after.keys().filter(|name| name.contains("partial")).count(), 0);
    }
}

/// What is written goes into a file of its own, so a failure leaves the earlier output whole.
#[test]
fn a_run_that_fails_leaves_the_earlier_output_as_it_was() {
    let folder = folder();
    fs::write(folder.path().join("out.mp4"), "earlier").unwrap();
    let args = ["-m", "mosaic", "-i", "clip.mp4", "-o", "out.mp4", "--overwrite"];
    let more = ["--dump-dot", "none", "--scale", "0.1"];
    let line = refusal(folder.path(), 1, &[&args[..], &more].concat());
    assert_says(&line, &["'none/source.dot'"]);
    let line = refusal(folder.path(), 1, &[&args[..], &["--start", "50"]].concat());
    assert_says(&line, &["'clip.mp4'"]);
    let out = run(folder.path(), &args[..2]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(fs::read(folder.path().join("out.mp4")).unwrap(), b"earlier");
}

/// The name of a second file for the index may not be had: here all partial names but one are taken.
#[test]
fn a_finished_file_whose_index_cannot_be_moved_keeps_it_at_its_end() {
    let folder = folder();
    for number in (2..1000).map(|n| format!("-{n}")) {
        fs::write(folder.path().join(format!("out.partial{number}.mp4")), "").unwrap();
    }
    let out = run(folder.path(), &["-m", "mosaic-lite", "-i", "clip.mp4", "-o", "out.mp4"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{said}");
    assert!(said.contains("the index stays at the end of") && said.contains("out.mp4"), "{said}");
    assert!(fs::metadata(folder.path().join("out.mp4")).unwrap().len() > 1000, "{said}");
}

/// What is on its way when nothing more can be written is not in the file.
#[test]
fn a_run_that_finds_no_room_says_how_many_frames_can_be_read() {
    let folder = folder();
    let at = folder.path();
    let mut kept = 0;
    for name in ["out.mkv", "out.mp4", "out.webm"] {
        // `ulimit -f` counts in blocks of 512 bytes; writing beyond it is a signal (SIGXFSZ).
        let mut limited = Command::new("sh");
        limited.current_dir(at).args(["-c", "ulimit -f 1000; exec \"$0\" \"$@\""]);
        limited.arg(nst().get_program()).arg("-m").arg(data("reference-small.pth"));
        limited.args(["-i", "clip.mp4", "-o", name, "--quality", "100", "--preset", "ultrafast"]);
        let out = output(limited.args(["--hwaccel", "off"]));
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(1), "{name}: {said}");
        let line = said.lines().last().unwrap();
        assert_says(line, &["stopped after ", " frames", "partial"]);
        let partial = line.split('\'').nth(1).unwrap();
        let number = |text: &str| text.split(' ').next().unwrap().parse::<usize>().unwrap();
        let count = match line.split_once("of which ") {
            Some((_, rest)) => number(rest),
            None if line.contains("none can be read") => 0,
            None => number(line.split_once("stopped after ").unwrap().1),
        };
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-select_streams", "v:0", "-count_packets", "-of", "csv=p=0"]);
        let found =
            output(probe.args(["-show_entries", "stream=nb_read_packets"]).arg(at.join(partial)));
        let found = String::from_utf8(found.stdout).unwrap();
        assert_eq!(count, found.trim().parse().unwrap_or(0), "{name}: {line}");
        kept += count;
    }
    assert!(kept > 0);
}

#[test]
fn a_working_folder_that_no_longer_exists_is_said_in_words() {
    let folder = folder();
    let script = "mkdir gone; cd gone; rmdir ../gone; exec \"$0\" \"$@\"";
    for (args, code) in
        [(&["--version"][..], 0), (&["-m", "mosaic", "-i", "a.png", "-o", "b.png"], 1)]
    {
        let mut gone = Command::new("sh");
        gone.current_dir(folder.path()).args(["-c", script]).arg(nst().get_program());
        let out = output(gone.args(args));
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(code), "{said}");
        assert!(!said.contains("oneMKL"), "{said}");
        if code != 0 {
            assert_says(&said, &["the working folder no longer exists", "change to another one"]);
        }
    }
}
