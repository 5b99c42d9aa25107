//! `nst-stream models average`.

use super::{assert_says, folder, refusal, run};

#[test]
fn the_mean_of_a_model_with_itself_is_that_model() {
    let folder = folder();
    let out =
        run(folder.path(), &["models", "average", "mosaic:0.25", "mosaic:3", "-o", "mean.pt"]);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    assert_says(&String::from_utf8(out.stdout).unwrap(), &["mean.pt: the mean of 2 models"]);
    let paint = |model: &str| {
        let to = format!("{model}.png");
        let args = ["--model", model, "--input", "cat.png", "--output", &to, "--device", "cpu"];
        assert_eq!(run(folder.path(), &args).status.code(), Some(0));
        std::fs::read(folder.path().join(to)).unwrap()
    };
    assert!(paint("mosaic") == paint("mean.pt"));
    let show = run(folder.path(), &["models", "show", "mean.pt"]);
    assert_says(&String::from_utf8(show.stdout).unwrap(), &["mosaic", "MIT"]);
}

#[test]
fn what_cannot_be_averaged_is_refused_with_words() {
    let folder = folder();
    fn average<'a>(models: &[&'a str], output: &'a str) -> Vec<&'a str> {
        [&["models", "average"], models, &["-o", output]].concat()
    }
    let there = refusal(folder.path(), 1, &average(&["mosaic", "mosaic"], "cat.png"));
    assert_says(&there, &["'cat.png' already exists", "--overwrite"]);
    assert_says(
        &refusal(folder.path(), 2, &average(&["mosaic"], "a.pt")),
        &["at least two models"],
    );
    let bad = run(folder.path(), &average(&["mosaic:0", "mosaic"], "a.pt"));
    assert_eq!(bad.status.code(), Some(2));
    assert_says(&String::from_utf8(bad.stderr).unwrap(), &["'mosaic:0'", "above 0"]);
    let missing = average(&["mosaic", "nowhere.pt"], "a.pt");
    assert_says(&refusal(folder.path(), 1, &missing), &["nowhere.pt"]);
}
