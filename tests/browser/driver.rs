//! Chromium and its driver.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// A chromedriver; killed when dropped.
pub struct Driver {
    process: Child,
    address: String,
}

impl Driver {
    pub fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: install chromium-driver");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // Its pipe is read for as long as it lives.
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("http://127.0.0.1:{}", port.expect("a port"));
        Driver { process, address }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A window of Chromium.
pub struct Browser {
    client: Client,
    folder: tempfile::TempDir,
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Own(&'static str, Value);

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}

/// True once a picture of the test's width is shown.
pub const PICTURE: &str = "const video = document.getElementById('video');\
    return (video.hidden ? document.getElementById('picture').width : video.videoWidth) === 96";

/// Every so many bytes of a picture are looked at: of the video, where it is shown.
const SPARSE: &str = "const video = document.getElementById('video');\
    let canvas = document.getElementById('picture');\
    if (!video.hidden) {\
        canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);\
        canvas.getContext('2d').drawImage(video, 0, 0);\
    }\
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;";

impl Browser {
    pub async fn open(driver: &Driver, link: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program =
            std::env::var("BROWSER_FOR_TESTS").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let downloads = folder.path().join("downloads");
        std::fs::create_dir(&downloads).unwrap();
        let options = json!({
            "binary": program,
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                "--window-size=1280,1000", "--hide-scrollbars", profile],
            "prefs": {"download.default_directory": downloads, "download.prompt_for_download": false},
        });
        let capabilities = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&driver.address)
            .await
            .expect("Chromium");
        let browser = Browser { client, folder };
        let behavior = json!({"behavior": "allow", "downloadPath": downloads});
        browser.devtools("Browser.setDownloadBehavior", behavior).await;
        browser.go(link).await;
        browser
    }

    pub fn downloads(&self) -> &'static Path {
        // It lives as long as the test.
        Box::leak(self.folder.path().join("downloads").into_boxed_path())
    }

    pub async fn go(&self, link: &str) {
        self.client.goto(link).await.unwrap();
    }

    pub async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client
            .execute(script, Vec::new())
            .await
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until a script returns what counts as true.
    pub async fn until(&self, what: &str, script: &str) {
        let started = Instant::now();
        let script = format!("return Boolean((() => {{ {script} }})())");
        while self.run(&script).await != true {
            if started.elapsed() > Duration::from_secs(60) {
                let said = self.complaints().await;
                let text = self.run("return document.body.innerText").await;
                panic!("not in time: {what}: {said:?}\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Samples of the picture that is shown.
    pub async fn pixels(&self) -> Vec<f64> {
        let script = format!(
            "{SPARSE} return Array.from(data.filter((_, n) => n % 4 !== 3 && n % 7 === 0))"
        );
        let Value::Array(values) = self.run(&script).await else { panic!("no pixels") };
        values.iter().map(|value| value.as_f64().unwrap()).collect()
    }

    pub async fn until_pixels(&self, what: &str, is: impl Fn(&[f64]) -> bool) {
        let started = Instant::now();
        while !is(&self.pixels().await) {
            assert!(started.elapsed() < Duration::from_secs(60), "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The mean of some pictures, one after another.
    pub async fn mean_of_pictures(&self) -> Vec<f64> {
        const COUNT: usize = 12;
        let mut sum = self.pixels().await;
        for _ in 1..COUNT {
            tokio::time::sleep(Duration::from_millis(150)).await;
            self.pixels().await.iter().zip(&mut sum).for_each(|(value, sum)| *sum += value);
        }
        sum.into_iter().map(|sum| sum / COUNT as f64).collect()
    }

    /// How far the left half of what is shown is from the source, and the right half from what is painted, both by
    /// the same pair. The page draws a pair of its own, so that the program's is asked for until they are of one instant.
    pub async fn against_pair(&self) -> (f64, f64) {
        let script = "const done = arguments[arguments.length - 1]; (async () => {\
            let best = [999, 999];\
            const canvas = document.getElementById('picture');\
            for (let turn = 0; turn < 40; turn++) {\
                const answer = await fetch('/api/v1/picture?pair=true&after=0');\
                const pair = await createImageBitmap(await answer.blob());\
                const width = canvas.width, height = canvas.height;\
                const copy = new OffscreenCanvas(pair.width, pair.height).getContext('2d');\
                copy.drawImage(pair, 0, 0);\
                const mean = (from, to, shift) => {\
                    const a = canvas.getContext('2d').getImageData(from, 0, to - from, height).data;\
                    const b = copy.getImageData(from + shift, 0, to - from, height).data;\
                    let sum = 0;\
                    for (let n = 0; n < a.length; n++) sum += Math.abs(a[n] - b[n]);\
                    return sum / a.length;\
                };\
                const half = width / 2;\
                const found = [mean(0, half - 2, 0), mean(half + 2, width, width)];\
                if (found[0] + found[1] < best[0] + best[1]) best = found;\
                await new Promise((next) => setTimeout(next, 50));\
            }\
            return best;\
        })().then(done, (error) => done(String(error)))";
        let found = self.client.execute_async(script, Vec::new()).await.unwrap();
        let at = |n: usize| found[n].as_f64().unwrap_or_else(|| panic!("{found}"));
        (at(0), at(1))
    }

    pub async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    /// Gives an element the focus, and presses keys.
    pub async fn press(&self, selector: &str, keys: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().send_keys(keys).await.unwrap();
    }

    /// What the console holds: warnings and errors, but for answers that a test provokes.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Own("se/log", json!({"type": "browser"}))).await.unwrap();
        let entries = log.as_array().cloned().unwrap_or_default();
        let bad =
            entries.iter().filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        let said = bad.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        // The tests themselves read pixels, which Chromium advises on.
        said.filter(|text| !text.contains("willReadFrequently")).collect()
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.client.issue_cmd(Own("goog/cdp/execute", body)).await.unwrap()
    }

    /// Suspends the page, as a browser does with tabs in the background, or lets it go on.
    pub async fn freeze(&self, on: bool) {
        let state = if on { "frozen" } else { "active" };
        self.devtools("Page.setWebLifecycleState", json!({"state": state})).await;
    }

    pub async fn screenshot(&self) -> Vec<u8> {
        self.client.screenshot().await.unwrap()
    }

    pub async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    /// A test that fails leaves no Chromium behind, which outlives its driver: all of its processes name its profile.
    fn drop(&mut self) {
        let profile = self.folder.path().display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(&profile) {
                let kill = format!("kill -KILL {}", entry.file_name().display());
                let _ = Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status();
            }
        }
    }
}

pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::MAX;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}
