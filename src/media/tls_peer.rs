//! Tests whether the TLS certificate of the server at the other end is trusted.

use gst_rtsp_server::gio;
use gst_rtsp_server::gio::prelude::*;
use gstreamer_rtsp_server as gst_rtsp_server;
use url::Url;

use super::error::PipelineError;
use crate::core::timeouts::TLS_ANSWER;

/// What a user reads where a certificate is refused.
pub(super) const UNTRUSTED: &str = "its TLS certificate is not trusted, or not made out for this host; one that you \
     signed yourself goes to /usr/local/share/ca-certificates/NAME.crt, before `sudo update-ca-certificates`";

/// The reason why a source at this address cannot be opened: `error`, or that its certificate is not trusted, about
/// which GStreamer's elements say nothing.
pub(super) fn explain(location: &str, error: PipelineError) -> PipelineError {
    match is_untrusted(location) {
        Some(true) => PipelineError { error: UNTRUSTED.to_owned(), ..error },
        _ => error,
    }
}

/// Whether the server has a certificate that is not trusted; none where there is no TLS.
fn is_untrusted(location: &str) -> Option<bool> {
    let url = Url::parse(location).ok()?;
    let usual = match url.scheme() {
        "https" => 443,
        "rtsps" => 322,
        _ => return None,
    };
    let client = gio::SocketClient::new();
    client.set_tls(true);
    client.set_timeout(TLS_ANSWER.as_secs() as u32);
    let (host, port) = (url.host_str()?, url.port().unwrap_or(usual));
    let connected = client.connect_to_host(host, port, gio::Cancellable::NONE);
    Some(connected.is_err_and(|error| error.matches(gio::TlsError::BadCertificate)))
}
