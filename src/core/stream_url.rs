//! Addresses of streams over HTTP, UDP, SRT and RTMP.

use std::fmt;

use url::Url;

use super::endpoint::percent_decode;

/// How a stream is transported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamScheme {
    /// `http://` and `https://`: HLS, MJPEG, or any container.
    Http,
    /// `udp://`: MPEG-TS in datagrams.
    Udp,
    /// `srt://`: MPEG-TS over SRT.
    Srt,
    /// `rtmp://` and `rtmps://`.
    Rtmp,
}

/// The address of a stream. User, password and query (passphrases, tokens) are kept apart, so that no message
/// can show them.
#[derive(Clone, PartialEq)]
pub struct StreamUrl {
    scheme: StreamScheme,
    /// Without user and password.
    url: Url,
    credentials: Option<(String, String)>,
    /// The address names no host: others connect to this machine.
    listens: bool,
}

impl StreamUrl {
    /// Parses an address; none if its scheme is another one.
    ///
    /// # Errors
    /// A line that says what is wrong; it repeats neither password nor query.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
        let name = scheme.to_ascii_lowercase();
        let scheme = match name.as_str() {
            "http" | "https" => StreamScheme::Http,
            "udp" => StreamScheme::Udp,
            "srt" => StreamScheme::Srt,
            "rtmp" | "rtmps" => StreamScheme::Rtmp,
            _ => return Ok(None),
        };
        // As players write "any address of this machine".
        let rest = rest.strip_prefix('@').filter(|_| scheme == StreamScheme::Udp).unwrap_or(rest);
        let listens = rest.starts_with(':');
        let any = if listens { "0.0.0.0" } else { "" };
        let mut url = Url::parse(&format!("{name}://{any}{rest}"))
            .map_err(|error| format!("not an address of a stream: {error}"))?;
        let needs_port = matches!(scheme, StreamScheme::Udp | StreamScheme::Srt);
        if url.host_str().is_none_or(str::is_empty) || needs_port && url.port().is_none() {
            let port = if needs_port { ":port" } else { "[:port]/path" };
            return Err(format!("expected {name}://host{port}"));
        }
        let decoded = |text: &str| percent_decode(text);
        let credentials = (!url.username().is_empty())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        // Both can only fail for addresses without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Some(StreamUrl { scheme, url, credentials, listens }))
    }

    /// How the stream is transported.
    pub fn scheme(&self) -> StreamScheme {
        self.scheme
    }

    /// The address with its query, without user and password.
    pub fn location(&self) -> &str {
        self.url.as_str()
    }

    /// User and password, if given.
    pub fn credentials(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// Whether the address names no host, so that others connect to this machine.
    pub fn listens(&self) -> bool {
        self.listens
    }

    /// Host and port.
    pub fn host_and_port(&self) -> (&str, Option<u16>) {
        let host = self.url.host_str().unwrap_or_default();
        (host.trim_matches(['[', ']']), self.url.port_or_known_default())
    }

    /// The value of a key of the query.
    pub fn query(&self, key: &str) -> Option<String> {
        self.url.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = self.location().split('?').next().unwrap_or_default();
        match self.listens {
            // As the user wrote it.
            true => f.write_str(&shown.replacen("://0.0.0.0", "://", 1)),
            false => f.write_str(shown),
        }
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        // Without the path, in which RTMP has a key.
        write!(f, "StreamUrl({}://{}…)", self.url.scheme(), self.host_and_port().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> StreamUrl {
        StreamUrl::parse(text).unwrap().unwrap()
    }

    #[test]
    fn secrets_of_an_address_never_show() {
        for text in [
            "srt://host:7001?passphrase=s3cret-word&latency=200",
            "http://me:s3cret-word@cam/live.m3u8?token=s3cret-word",
            "rtmp://me:s3cret-word@host/live/cam",
        ] {
            let url = url(text);
            let shown = format!("{url} {url:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("me:"), "{shown}");
        }
        let srt = url("srt://host:7001?passphrase=s3cret&mode=caller");
        assert_eq!(srt.query("passphrase").as_deref(), Some("s3cret"));
        assert_eq!(srt.host_and_port(), ("host", Some(7001)));
        let http = url("HTTPS://me:p%40ss@cam/a?b=c");
        assert_eq!(http.credentials(), Some(("me", "p@ss")));
        assert_eq!(http.location(), "https://cam/a?b=c");
        let wrong = StreamUrl::parse("srt://host?passphrase=s3cret").unwrap_err();
        assert_eq!(wrong, "expected srt://host:port");
    }

    #[test]
    fn an_address_without_a_host_is_one_of_this_machine() {
        for text in ["udp://:5000", "udp://@:5000", "srt://:5000?mode=listener"] {
            assert!(url(text).listens(), "{text}");
            assert_eq!(url(text).host_and_port(), ("0.0.0.0", Some(5000)), "{text}");
        }
        assert!(!url("udp://239.0.0.1:5000").listens());
        assert_eq!(StreamUrl::parse("rtsp://cam/1"), Ok(None));
        assert_eq!(StreamUrl::parse("a.mp4"), Ok(None));
    }
}
