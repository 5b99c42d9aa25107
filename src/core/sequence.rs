//! Sequences of pictures: numbered files (`frames/%04d.png`), or all pictures of a folder.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

/// File name extensions of pictures that can be read.
const ENDINGS: [&str; 9] = ["png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff", "gif", "jpe"];

/// Whether a file name has the extension of a picture.
fn has_picture_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// A pattern of numbered file names, as in printf and ffmpeg: `out/%05d.png`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    folder: PathBuf,
    before: String,
    digits: usize,
    after: String,
}

/// The existing numbers of a pattern.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NumberedFiles {
    /// Consecutive numbers, from the first that exists.
    pub numbers: Vec<u64>,
    /// The first number after a gap, if there is any.
    pub behind_gap: Option<u64>,
}

impl Pattern {
    /// Parses a picture's file name with exactly one `%d` or `%05d` (`%%` is a percent sign); none for any other
    /// name: `100%done.mp4` is a video.
    pub fn parse(path: &Path) -> Option<Self> {
        has_picture_ending(path).then(|| Pattern::parse_any(path))?
    }

    /// The same of a file of any kind.
    pub fn parse_any(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let (mut parts, mut digits) = (vec![String::new()], 0);
        let mut chars = name.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                parts.last_mut()?.push(c);
                continue;
            }
            let mut width = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                width.push(digit);
            }
            match chars.next()? {
                '%' if width.is_empty() => parts.last_mut()?.push('%'),
                'd' => {
                    // Names have an end: 255 bytes.
                    digits = if width.is_empty() { 1 } else { width.parse().ok()? };
                    if digits > 100 {
                        return None;
                    }
                    parts.push(String::new());
                }
                _ => return None,
            }
        }
        let [before, after] = <[String; 2]>::try_from(parts).ok()?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Some(Pattern { folder, before, digits: digits.max(1), after })
    }

    /// `folder/00001.png` …
    pub fn in_folder(folder: &Path) -> Self {
        let (before, after) = (String::new(), ".png".to_owned());
        Pattern { folder: folder.to_owned(), before, digits: 5, after }
    }

    /// The pattern for the same pictures as PNGs in another folder.
    pub fn in_other_folder(&self, folder: &Path) -> Self {
        let stem = Path::new(&self.after).file_stem().unwrap_or_default().to_string_lossy();
        // What lies behind the number may be the ending alone, which Path takes for a name.
        let stem = if self.after.starts_with('.') && !self.after[1..].contains('.') {
            String::new()
        } else {
            stem.into_owned()
        };
        Pattern { folder: folder.to_owned(), after: format!("{stem}.png"), ..self.clone() }
    }

    /// The existing files after number `last`, up to the first gap.
    pub fn rest(&self, last: u64) -> Vec<PathBuf> {
        let numbers = (1..).map_while(|n| last.checked_add(n));
        numbers.map(|number| self.path(number)).take_while(|path| path.is_file()).collect()
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    /// The file of this number.
    pub fn path(&self, number: u64) -> PathBuf {
        let (before, digits, after) = (&self.before, self.digits, &self.after);
        self.folder.join(format!("{before}{number:0digits$}{after}"))
    }

    /// The number of a file, if its name matches the pattern.
    pub fn number_of(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
        (self.path(number).file_name()? == name).then_some(number)
    }

    /// The numbers of existing files, in order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn existing(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(self.folder())? {
            numbers.extend(entry?.file_name().to_str().and_then(|name| self.number_of(name)));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The files of the sequence: from the first existing one, whatever its number, to the first gap.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sequence(&self) -> io::Result<NumberedFiles> {
        let mut numbers = self.existing()?;
        let gap = numbers.windows(2).position(|pair| pair[1] != pair[0] + 1);
        let behind_gap = gap.map(|at| numbers[at + 1]);
        numbers.truncate(gap.map_or(numbers.len(), |at| at + 1));
        Ok(NumberedFiles { numbers, behind_gap })
    }
}

/// The picture files of a folder, by their extensions, in natural order: `a2.png` before `a10.png`.
///
/// # Errors
/// When the folder cannot be read.
pub fn pictures_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut pictures = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Hidden ones are a file system's own (`._0001.png`), partial ones an earlier run's.
        let left_over = name.starts_with('.') || name.contains(".partial");
        if has_picture_ending(&path) && !left_over && path.is_file() {
            pictures.push(path);
        }
    }
    pictures.sort_by(|a, b| by_nature(&name_of(a), &name_of(b)));
    Ok(pictures)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Compares names in natural order: digits compare as numbers.
fn by_nature(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(c), Some(d)) = (x.chars().next(), y.chars().next()) else {
            // Equal but for zeros in front: by their bytes.
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        };
        let order = if c.is_ascii_digit() && d.is_ascii_digit() {
            let (n, m) = (take_number(&mut x), take_number(&mut y));
            n.len().cmp(&m.len()).then_with(|| n.cmp(m))
        } else {
            (x, y) = (&x[c.len_utf8()..], &y[d.len_utf8()..]);
            c.to_lowercase().cmp(d.to_lowercase())
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The digits at the beginning, without zeros in front.
fn take_number<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(Path::new(text)).unwrap()
    }

    #[test]
    fn a_pattern_has_one_number_in_its_file_name() {
        assert_eq!(pattern("out/%05d.png").path(7), Path::new("out/00007.png"));
        assert_eq!(pattern("out/%05d.png").path(1_234_567), Path::new("out/1234567.png"));
        assert_eq!(pattern("a%d-100%%.jpg").path(12), Path::new("a12-100%.jpg"));
        assert_eq!(pattern("%4d.png").path(7), Path::new("0007.png"));
        assert_eq!(pattern("%d.png").folder(), Path::new("."));
        for none in ["out.png", "100%.png", "%d/a.png", "%d-%d.png", "%s.png", "%999d.png", "%"] {
            assert_eq!(Pattern::parse(Path::new(none)), None, "{none}");
        }
    }

    #[test]
    fn a_percent_sign_in_the_name_of_a_video_is_a_percent_sign() {
        for none in ["100%done.mp4", "50%d.mkv", "%05d.webm", "out/%d", "%d.y4m", "%d.png.mp4"] {
            assert_eq!(Pattern::parse(Path::new(none)), None, "{none}");
        }
        assert_eq!(pattern("100%done.PNG").path(3), Path::new("1003one.PNG"));
    }

    #[test]
    fn numbers_are_found_in_names_that_the_pattern_would_write() {
        let (wide, plain) = (pattern("f/a%03d.png"), pattern("%d.png"));
        assert_eq!(wide.number_of("a007.png"), Some(7));
        assert_eq!(wide.number_of("a1007.png"), Some(1007));
        assert_eq!(plain.number_of("0.png"), Some(0));
        for name in
            ["a07.png", "a.png", "a0007.png", "a-07.png", "b007.png", "a007.jpg", "a+07.png"]
        {
            assert_eq!(wide.number_of(name), None, "{name}");
        }
        assert_eq!(plain.number_of("99999999999999999999999.png"), None);
        assert_eq!(plain.number_of(".png"), None);
    }

    #[test]
    fn pictures_of_a_pattern_keep_their_numbers_in_another_folder() {
        for (from, into) in [("a/%03d.jpg", "b/007.png"), ("a/x%d.a.jpg", "b/x7.a.png")] {
            assert_eq!(pattern(from).in_other_folder(Path::new("b")).path(7), Path::new(into));
        }
    }

    #[test]
    fn the_rest_of_a_sequence_ends_at_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let frames = Pattern::parse(&folder.path().join("%03d.png")).unwrap();
        for number in [1, 2, 3, 4, 6] {
            std::fs::write(frames.path(number), "").unwrap();
        }
        assert_eq!(frames.rest(2), [frames.path(3), frames.path(4)]);
        assert_eq!(frames.rest(4), [] as [PathBuf; 0]);
        assert_eq!(frames.rest(u64::MAX), [] as [PathBuf; 0]);
    }

    #[test]
    fn a_sequence_begins_with_any_number_and_ends_at_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let frames = Pattern::parse(&folder.path().join("%03d.png")).unwrap();
        assert_eq!(frames.sequence().unwrap(), NumberedFiles::default());
        for number in [11, 9, 10, 13, 14] {
            std::fs::write(frames.path(number), "").unwrap();
        }
        let numbered = frames.sequence().unwrap();
        assert_eq!(numbered, NumberedFiles { numbers: vec![9, 10, 11], behind_gap: Some(13) });
        assert!(pattern("no/such/folder/%d.png").sequence().is_err());
    }

    #[test]
    fn a_folder_gives_its_pictures_as_people_count() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a10.png", "a2.PNG", "A3.jpg", "a02.png", "b.webp", "a.gif", "a1b2.bmp"];
        let others = ["a.txt", ".hidden.png", "a4.partial.png", "png"];
        for name in names.iter().chain(&others) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("folder.png")).unwrap();
        let found: Vec<String> =
            pictures_in(folder.path()).unwrap().iter().map(|p| name_of(p)).collect();
        assert_eq!(
            found,
            ["a.gif", "a1b2.bmp", "a02.png", "a2.PNG", "A3.jpg", "a10.png", "b.webp"]
        );
    }
}
