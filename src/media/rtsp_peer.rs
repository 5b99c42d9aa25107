//! Tests whether the RTSP server at the other end can be reached.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};

use super::error::PipelineError;
use crate::core::endpoint::RtspUrl;
use crate::core::stop::StopSignal;
use crate::core::timeouts::{CONNECT_TO_RTSP_SERVER, POLL};

/// Connects to the server, to report a precise reason: GStreamer's elements only say "could not open
/// resource".
///
/// # Errors
/// Why not: no such host, nothing listens there, no answer; or that `stop` was set meanwhile.
pub(super) fn reach(url: &RtspUrl, stop: &StopSignal) -> Result<(), PipelineError> {
    // On a thread of its own: a name lookup cannot be interrupted.
    let (send, answer) = channel();
    let url = url.clone();
    let ask = move || send.send(connect(&url));
    let thread = std::thread::Builder::new().name("reach".into()).spawn(ask);
    thread.map_err(|error| PipelineError::new("rtsp", error.to_string()))?;
    loop {
        match answer.recv_timeout(POLL) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if stop.is_set() => return Err(PipelineError::stopped()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PipelineError::new("rtsp", "the thread that connects panicked"));
            }
        }
    }
}

fn connect(url: &RtspUrl) -> Result<(), PipelineError> {
    let (host, port) = url.peer();
    let failed = |text: String| Err(PipelineError::new("rtsp", text));
    let Ok(addresses) = (host, port).to_socket_addrs() else {
        return failed(format!("there is no host '{host}' (or no network)"));
    };
    let mut why = ErrorKind::NotFound;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TO_RTSP_SERVER) {
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
        let why = |url: &str| {
            reach(&RtspUrl::parse(url).unwrap(), &StopSignal::default()).unwrap_err().error
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("rtsp://127.0.0.1:{port}/cam");
        assert!(reach(&RtspUrl::parse(&url).unwrap(), &StopSignal::default()).is_ok());
        drop(listener);
        assert!(why(&url).contains("nothing listens at port"), "{}", why(&url));
        let unknown = why("rtsp://no-such-host.invalid/cam");
        assert!(unknown.contains("no host 'no-such-host.invalid'"), "{unknown}");
    }
}
