//! The RTSP server at the other end: whether there is one.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::error::PipelineError;
use crate::endpoint::RtspUrl;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries whether the server can be reached: GStreamer's elements only say "could not open
/// resource" when it cannot.
///
/// # Errors
/// Why not: no such host, nothing listens there, no answer.
pub(super) fn reach(url: &RtspUrl) -> Result<(), PipelineError> {
    let (host, port) = url.peer();
    let failed = |text: String| Err(PipelineError::new("rtsp", text));
    let Ok(addresses) = (host, port).to_socket_addrs() else {
        return failed(format!("there is no host '{host}' (or no network)"));
    };
    let mut why = ErrorKind::NotFound;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => why = error.kind(),
        }
    }
    match why {
        ErrorKind::ConnectionRefused => {
            failed(format!("'{host}' is there, but nothing listens at port {port}"))
        }
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            failed(format!("'{host}' does not answer at port {port}"))
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            failed(format!("'{host}' cannot be reached from here"))
        }
        _ => failed(format!("'{host}' has no usable address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_reached_is_told_why() {
        let why = |url: &str| reach(&RtspUrl::parse(url).unwrap()).unwrap_err().error;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("rtsp://127.0.0.1:{port}/cam");
        assert!(reach(&RtspUrl::parse(&url).unwrap()).is_ok());
        drop(listener);
        assert!(why(&url).contains("nothing listens at port"), "{}", why(&url));
        let unknown = why("rtsp://no-such-host.invalid/cam");
        assert!(unknown.contains("no host 'no-such-host.invalid'"), "{unknown}");
    }
}
