//! A live run with its page.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::nst;
use crate::http::get;
use crate::program::{Ended, Live};

/// A run in a folder of its own.
pub struct Run {
    pub live: Live,
    /// Address and port.
    pub host: String,
    /// The link, as it was printed.
    pub link: String,
    pub folder: tempfile::TempDir,
}

impl Run {
    /// A small moving picture, with these options besides.
    pub fn start(args: &[&str]) -> Self {
        Self::of(
            &[&["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", "127.0.0.1:0"], args]
                .concat(),
        )
    }

    pub fn of(args: &[&str]) -> Self {
        Self::spawn(nst().args(args))
    }

    pub fn spawn(command: &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let live = Live::spawn(command.current_dir(folder.path()));
        let link = live.told("control: ");
        let host = link.split("//").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Run { live, host, link, folder }
    }

    /// A small moving picture with a tone (AAC), which is painted by itself.
    #[allow(dead_code)]
    pub fn with_sound() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source.pipeline");
        let text = "videotestsrc is-live=true pattern=ball \
                    ! video/x-raw,format=I420,width=96,height=64,framerate=15/1 ! appsink name=frames \
                    audiotestsrc is-live=true ! audioconvert ! avenc_aac ! aacparse \
                    ! appsink name=packets sync=false async=false";
        std::fs::write(&source, text).unwrap();
        let source = source.to_str().unwrap();
        let page = ["--steady", "0", "--control", "127.0.0.1:0"];
        Self::of(&[&["-m", "mosaic-lite", "--pipeline-source", source], &page[..]].concat()).ready()
    }

    /// Waits until frames flow.
    pub fn ready(self) -> Self {
        self.until("frames flow", |run| get(&run.host, "/readyz").status == 200);
        self
    }

    pub fn state(&self) -> serde_json::Value {
        get(&self.host, "/api/v1/state").json()
    }

    /// Waits until this is so.
    pub fn until(&self, what: &str, is: impl Fn(&Run) -> bool) {
        let started = Instant::now();
        while !is(self) {
            let late = started.elapsed() > Duration::from_secs(90);
            assert!(!late, "not in time: {what}: {}", self.live.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Names of files in its folder with this end.
    pub fn files(&self, end: &str) -> Vec<String> {
        files(self.folder.path(), end)
    }

    /// Interrupts it; it must end well.
    pub fn ends(self) -> Ended {
        let ended = self.live.interrupt();
        assert_eq!(ended.code, Some(130), "{}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }
}

pub fn files(folder: &Path, end: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).collect()
}

/// A mask, black on its left and white on its right, and a source of its shape that stands still.
#[allow(dead_code)]
pub fn still_in_halves(folder: &Path) -> (String, String) {
    let [mask, source] = ["mask.png", "source.pipeline"].map(|name| folder.join(name));
    let halves = |x, _| image::Rgb(if x < 48 { [0; 3] } else { [255; 3] });
    image::RgbImage::from_fn(96, 64, halves).save(&mask).unwrap();
    let still = "videotestsrc is-live=true pattern=smpte100 \
                 ! video/x-raw,format=I420,width=96,height=64,framerate=15/1 ! appsink name=frames";
    std::fs::write(&source, still).unwrap();
    (mask.to_str().unwrap().to_owned(), source.to_str().unwrap().to_owned())
}
