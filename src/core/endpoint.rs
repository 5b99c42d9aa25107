//! What a user may name after `--input` and `--output`, parsed once.

use std::ffi::OsStr;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::Url;

use super::secrets;
use super::stream_url::{StreamScheme, StreamUrl};

/// An input, as named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum InputSpec {
    /// A video or picture file.
    File(PathBuf),
    /// A camera (`/dev/video0`).
    Device(PathBuf),
    /// A network camera or server.
    Rtsp(RtspUrl),
    /// A stream over HTTP (HLS, MJPEG and others), UDP, SRT or RTMP.
    Stream(StreamUrl),
    /// A camera that a browser sends by WebRTC (WHIP): `whip:`.
    Whip,
    /// File with the user's own GStreamer description, which ends in an appsink named `frames`.
    Pipeline(PathBuf),
    /// A moving test picture with a live clock: `test:`, `test:640x360`, `test:640x360@30`.
    Test {
        /// Width and height, when given.
        size: Option<(u32, u32)>,
        /// Frames per second, when given.
        fps: Option<u32>,
    },
}

impl InputSpec {
    /// Parses the value of `--input`.
    ///
    /// # Errors
    /// A line that says what is expected.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, String> {
        let text = text.as_ref();
        // What is no UTF-8 is the name of a file.
        let Some(text) = text.to_str() else { return Ok(InputSpec::File(text.into())) };
        if let Some(rest) = text.strip_prefix("test:").filter(|_| !Path::new(text).exists()) {
            return parse_test(rest);
        }
        if text == "whip:" && !Path::new(text).exists() {
            return Ok(InputSpec::Whip);
        }
        if let Some(path) = file_of(text) {
            return Ok(InputSpec::File(path));
        }
        if is_rtsp(text) {
            return RtspUrl::parse(text).map(InputSpec::Rtsp);
        }
        // A file may have such a name.
        let address = if text.contains("://") { secrets::expand(text)? } else { text.to_owned() };
        if let Some(url) = StreamUrl::parse(&address)? {
            return Ok(InputSpec::Stream(url));
        }
        if is_device(text) {
            return Ok(InputSpec::Device(text.into()));
        }
        no_other_scheme(text, "rtsp://, http://, udp://, srt://, rtmp://, whip: or test:")?;
        Ok(InputSpec::File(text.into()))
    }

    /// Whether the source is live: it delivers frames whether or not they are taken.
    pub fn is_live(&self) -> bool {
        !matches!(self, InputSpec::File(_))
    }
}

impl fmt::Display for InputSpec {
    /// As the user wrote it, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            InputSpec::File(path) | InputSpec::Device(path) | InputSpec::Pipeline(path) => {
                write!(f, "{}", path.display())
            }
            InputSpec::Rtsp(url) => write!(f, "{url}"),
            InputSpec::Stream(url) => write!(f, "{url}"),
            InputSpec::Whip => f.write_str("whip:"),
            InputSpec::Test { .. } => f.write_str("test:"),
        }
    }
}

/// An output, as named on the command line.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputSpec {
    /// A file; its extension says what kind.
    File(PathBuf),
    /// A virtual camera (v4l2loopback).
    Device(PathBuf),
    /// An RTSP server on an address of this machine, for any number of clients.
    Serve(RtspUrl),
    /// A media server that the stream is sent to (RTSP RECORD).
    Push(RtspUrl),
    /// A stream over SRT, RTMP or UDP.
    Stream(StreamUrl),
    /// A playlist of HLS (`live.m3u8`), with its segments beside it.
    Hls(PathBuf),
    /// A window on the screen.
    Window,
    /// File with the user's own GStreamer description, which begins with an appsrc named `frames`.
    Pipeline(PathBuf),
}

impl OutputSpec {
    /// Parses a value of `--output`.
    ///
    /// # Errors
    /// A line that says what is expected.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self, String> {
        let text = text.as_ref();
        let Some(text) = text.to_str() else { return Ok(OutputSpec::File(text.into())) };
        if text == "window:" {
            return Ok(OutputSpec::Window);
        }
        if is_rtsp(text) {
            let url = RtspUrl::parse(text)?;
            url.bind_address()?;
            return Ok(OutputSpec::Serve(url));
        }
        if let Some(url) = StreamUrl::parse(&secrets::expand(text)?)? {
            return match url.scheme() {
                StreamScheme::Http => Err("nothing is sent to http://; write live.m3u8 for a web \
                    server, or use rtsp://, srt://, rtmp:// or udp://"
                    .to_owned()),
                _ => Ok(OutputSpec::Stream(url)),
            };
        }
        if is_device(text) {
            return Ok(OutputSpec::Device(text.into()));
        }
        if let Some(path) = file_of(text) {
            return Ok(OutputSpec::File(path));
        }
        if Path::new(text).extension().is_some_and(|end| end.eq_ignore_ascii_case("m3u8")) {
            return Ok(OutputSpec::Hls(text.into()));
        }
        no_other_scheme(text, "rtsp://, srt://, rtmp://, udp:// or window:")?;
        Ok(OutputSpec::File(text.into()))
    }

    /// Whether it is opened again when it fails during a run: a connection to another machine.
    pub fn is_opened_again(&self) -> bool {
        matches!(self, OutputSpec::Push(_) | OutputSpec::Stream(_))
    }
}

impl fmt::Display for OutputSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            OutputSpec::File(path)
            | OutputSpec::Device(path)
            | OutputSpec::Hls(path)
            | OutputSpec::Pipeline(path) => {
                write!(f, "{}", path.display())
            }
            OutputSpec::Serve(url) | OutputSpec::Push(url) => write!(f, "{url}"),
            // The end of such an address is the stream's key.
            OutputSpec::Stream(url) if url.scheme() == StreamScheme::Rtmp => {
                let shown = url.to_string();
                write!(f, "{}/…", shown.rsplit_once('/').map_or(&*shown, |(before, _)| before))
            }
            OutputSpec::Stream(url) => write!(f, "{url}"),
            OutputSpec::Window => f.write_str("window:"),
        }
    }
}

/// An RTSP address. User and password are kept apart, so that no message can show them.
#[derive(Clone, PartialEq)]
pub struct RtspUrl {
    /// Without user and password.
    url: Url,
    credentials: Option<(String, String)>,
}

impl RtspUrl {
    /// Parses `rtsp://[user:password@]host[:port]/path` or `rtsps://…`.
    ///
    /// # Errors
    /// A line that says what is wrong; it never repeats the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        // An empty host (`rtsp://:8554/art`) means this machine.
        let text = secrets::expand(text)?.replacen("://:", "://127.0.0.1:", 1);
        let mut url = Url::parse(&text).map_err(|e| format!("not an RTSP address: {e}"))?;
        if !matches!(url.scheme(), "rtsp" | "rtsps") || url.host_str().is_none_or(str::is_empty) {
            return Err("expected rtsp://host[:port]/path".to_owned());
        }
        let decode = |text: &str| percent_decode(text);
        let credentials = (!url.username().is_empty())
            .then(|| (decode(url.username()), decode(url.password().unwrap_or_default())));
        // Both can only fail for addresses without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(RtspUrl { url, credentials })
    }

    /// The address without user and password.
    pub fn location(&self) -> &str {
        self.url.as_str()
    }

    /// User and password, if given.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The path, at least `/`.
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// The port, 8554 when none is given.
    pub fn listen_port(&self) -> u16 {
        self.url.port().unwrap_or(8554)
    }

    /// Host and port of the server at the other end.
    pub fn peer(&self) -> (&str, u16) {
        let host = self.url.host_str().unwrap_or_default();
        let usual = if self.url.scheme() == "rtsps" { 322 } else { 554 };
        (host.trim_matches(['[', ']']), self.url.port().unwrap_or(usual))
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// When the host is a name other than `localhost`: a server listens on addresses.
    pub fn bind_address(&self) -> Result<IpAddr, String> {
        let host = self.url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        host.parse().map_err(|_| {
            format!(
                "'{host}' is not an address of this machine: 127.0.0.1 serves this machine, \
                 0.0.0.0 everybody (to send to a server use --rtsp-push)"
            )
        })
    }
}

impl fmt::Display for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.location())
    }
}

impl fmt::Debug for RtspUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "RtspUrl({})", self.location())
    }
}

/// The path of a `file://` URL, as file managers pass it.
fn file_of(text: &str) -> Option<PathBuf> {
    text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("file://"))?;
    Url::parse(text).ok()?.to_file_path().ok()
}

pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let code = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3)).flatten();
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_rtsp(text: &str) -> bool {
    let scheme = text.split("://").next().unwrap_or_default().to_ascii_lowercase();
    text.contains("://") && matches!(scheme.as_str(), "rtsp" | "rtsps")
}

fn is_device(text: &str) -> bool {
    Path::new(text).parent() == Some(Path::new("/dev")) && text.starts_with("/dev/video")
}

fn no_other_scheme(text: &str, others: &str) -> Result<(), String> {
    match text.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            Err(format!("'{scheme}://' is not supported; use a file, /dev/videoN, {others}"))
        }
        _ => Ok(()),
    }
}

/// Parses a frame size, `1280x720`; sides from 16 to 8192.
///
/// # Errors
/// A line that says what is expected.
pub fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', '×']);
    let side = |s: &str| s.parse().ok().filter(|n| (16..=8192).contains(n));
    sides
        .and_then(|(w, h)| Some((side(w)?, side(h)?)))
        .ok_or_else(|| format!("'{text}' is not a size; write 1280x720"))
}

fn parse_test(text: &str) -> Result<InputSpec, String> {
    let (size, fps) = match text.split_once('@') {
        Some((size, fps)) => (size, Some(fps)),
        None => (text, None),
    };
    let size = if size.is_empty() { None } else { Some(parse_size(size)?) };
    let fps = fps.map(|fps| {
        let fps = fps.parse().ok().filter(|n| (1..=240).contains(n));
        fps.ok_or_else(|| "expected test:WIDTHxHEIGHT@FPS".to_owned())
    });
    Ok(InputSpec::Test { size, fps: fps.transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_told_apart() {
        assert_eq!(InputSpec::parse("a.mp4"), Ok(InputSpec::File("a.mp4".into())));
        assert_eq!(InputSpec::parse("/dev/video0"), Ok(InputSpec::Device("/dev/video0".into())));
        assert_eq!(
            InputSpec::parse("/dev/videos/a.mp4"),
            Ok(InputSpec::File("/dev/videos/a.mp4".into()))
        );
        assert_eq!(InputSpec::parse("whip:"), Ok(InputSpec::Whip));
        assert_eq!(InputSpec::parse("test:"), Ok(InputSpec::Test { size: None, fps: None }));
        let test = InputSpec::Test { size: Some((640, 360)), fps: Some(30) };
        assert_eq!(InputSpec::parse("test:640x360@30"), Ok(test));
        assert!(matches!(InputSpec::parse("RTSP://cam/1"), Ok(InputSpec::Rtsp(_))));
        assert!(matches!(InputSpec::parse("http://cam/1"), Ok(InputSpec::Stream(_))));
        assert!(InputSpec::parse("ftp://cam/1").unwrap_err().contains("ftp://"));
        let secret = "srt://host:1?passphrase=${NO_SUCH_NAME}";
        assert!(InputSpec::parse(secret).unwrap_err().contains("NO_SUCH_NAME"));
        let file = "a${b}.mp4";
        assert_eq!(InputSpec::parse(file), Ok(InputSpec::File(file.into())));
        assert!(OutputSpec::parse("http://cam/1").unwrap_err().contains("http://"));
        assert!(InputSpec::parse("test:abc").is_err());
        assert!(InputSpec::parse("rtsp://").is_err());
    }

    #[test]
    fn files_may_be_named_by_addresses_and_hide_nothing() {
        let file = |path: &str| Ok(InputSpec::File(path.into()));
        assert_eq!(InputSpec::parse("file:///tmp/a%20b.mp4"), file("/tmp/a b.mp4"));
        assert_eq!(
            OutputSpec::parse("file:///tmp/ö.mp4"),
            Ok(OutputSpec::File("/tmp/ö.mp4".into()))
        );
        assert!(InputSpec::parse("file://elsewhere/a.mp4").is_err());
        assert!(InputSpec::parse("test:nothing-of-this-name.mp4").is_err());
    }

    #[test]
    fn a_password_never_shows() {
        let url = RtspUrl::parse("rtsp://me:p%40ss@cam:554/live?x=1").unwrap();
        assert_eq!(url.credentials(), Some(("me", "p@ss")));
        for text in [format!("{url}"), format!("{url:?}"), url.location().to_owned()] {
            assert!(!text.contains("me") && !text.contains("p%40ss"), "{text}");
        }
        assert_eq!(url.location(), "rtsp://cam:554/live?x=1");
        assert_eq!(url.peer(), ("cam", 554));
        assert_eq!(RtspUrl::parse("rtsps://[::1]/a").unwrap().peer(), ("::1", 322));
    }

    #[test]
    fn streams_are_outputs_whose_keys_never_show() {
        let shown = |text| OutputSpec::parse(text).map(|output| format!("{output} {output:?}"));
        let twitch = shown("rtmps://live.twitch.tv/app/live_k3y").unwrap();
        assert!(twitch.starts_with("rtmps://live.twitch.tv/app/… "), "{twitch}");
        let srt = shown("srt://host:7001?passphrase=k3y").unwrap();
        assert!(srt.starts_with("srt://host:7001 "), "{srt}");
        assert!(!twitch.contains("k3y") && !srt.contains("k3y"), "{twitch} {srt}");
        assert!(shown("udp://239.0.0.1:5000").is_ok());
        assert!(shown("http://host/a").unwrap_err().contains("http://"));
        assert!(shown("srt://host:1?passphrase=${NO_SUCH_NAME}").unwrap_err().contains("NO_SUCH"));
    }

    #[test]
    fn a_server_listens_on_this_machine_unless_told_otherwise() {
        let address = |text| RtspUrl::parse(text).unwrap().bind_address().map(|a| a.to_string());
        assert_eq!(address("rtsp://:8554/art"), Ok("127.0.0.1".into()));
        assert_eq!(address("rtsp://localhost/art"), Ok("127.0.0.1".into()));
        assert_eq!(address("rtsp://0.0.0.0:8554/art"), Ok("0.0.0.0".into()));
        assert_eq!(address("rtsp://[::1]:8554/art"), Ok("::1".into()));
        assert!(address("rtsp://example:8554/art").unwrap_err().contains("--rtsp-push"));
        assert_eq!(RtspUrl::parse("rtsp://0.0.0.0/art").unwrap().listen_port(), 8554);
        assert!(matches!(OutputSpec::parse("rtsp://0.0.0.0:1/a"), Ok(OutputSpec::Serve(_))));
        assert_eq!(OutputSpec::parse("/dev/video9"), Ok(OutputSpec::Device("/dev/video9".into())));
    }
}
