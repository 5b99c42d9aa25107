//! Figures against goals, as a page.

use std::path::Path;

/// What a figure should be.
pub enum Goal {
    /// It is there to be known.
    None,
    /// What it is, what it should be.
    AtLeast(f64, f64),
    AtMost(f64, f64),
    /// The same, in seconds.
    Within(f64, f64),
    /// At most, in milliseconds.
    Millis(f64, f64),
}

/// Figures in the order in which they were measured.
#[derive(Default)]
pub struct Report(Vec<(String, String, Goal)>);

impl Report {
    pub fn row(&mut self, what: impl Into<String>, figure: impl Into<String>, goal: Goal) {
        let (what, figure) = (what.into(), figure.into());
        eprintln!("{what}: {figure}");
        self.0.push((what, figure, goal));
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let rows = self.0.iter().map(|(what, figure, goal)| {
            let (goal, met) = match goal {
                Goal::None => (String::new(), ""),
                Goal::AtLeast(is, goal) => (format!("≥ {goal}"), yes(is >= goal)),
                Goal::AtMost(is, goal) => (format!("≤ {goal}"), yes(is <= goal)),
                Goal::Within(is, goal) => (format!("≤ {goal} s"), yes(is <= goal)),
                Goal::Millis(is, goal) => (format!("≤ {goal} ms"), yes(is <= goal)),
            };
            format!("| {what} | {figure} | {goal} | {met} |\n")
        });
        format!("| | Figure | Goal | Met |\n|---|---|---|---|\n{}", rows.collect::<String>())
    }

    /// The measured part of the page.
    pub fn markdown(&self, machine: &str, criterion: &str) -> String {
        let table = self.table();
        format!("{machine}\n## The whole program\n\n{table}\n## Its parts\n\n{criterion}")
    }
}

fn yes(met: bool) -> &'static str {
    if met { "yes" } else { "**no**" }
}

/// Puts a measured part between its marks; what stands around them stays.
pub fn write(page: &Path, part: &str, measured: &str) {
    let text = std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let begin = match part {
        "all" => "<!-- From here to the end mark `make bench` writes. -->\n".to_owned(),
        part => format!("<!-- From here to the end mark `… {part}` writes. -->\n"),
    };
    let end = "<!-- The end mark. -->\n";
    let (before, rest) = text.split_once(&begin).expect("the page has lost its begin mark");
    let (_, after) = rest.split_once(end).expect("the page has lost its end mark");
    std::fs::write(page, format!("{before}{begin}\n{measured}\n{end}{after}")).unwrap();
    eprintln!("written to {}", page.display());
}
