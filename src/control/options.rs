//! Where the control page is served, and for whom; where OSC is listened for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;

use crate::core::secrets;

/// Letters of a token that the user chooses.
const SHORTEST_TOKEN: usize = 16;

/// The address of the page: `8080`, `127.0.0.1:8080`, `0.0.0.0:8080`, `[::1]:8080`.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlAddress(SocketAddr);

impl std::str::FromStr for ControlAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        socket_address(text, 8080).map(ControlAddress)
    }
}

/// Where OSC is listened for: `9000`, `127.0.0.1:9000`, `0.0.0.0:9000`.
#[derive(Clone, Debug, PartialEq)]
pub struct OscAddress(SocketAddr);

impl std::str::FromStr for OscAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        socket_address(text, 9000).map(OscAddress)
    }
}

impl OscAddress {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.0
    }
}

/// An address and a port; a port alone is one of this machine alone. `example` is a port that an error names.
fn socket_address(text: &str, example: u16) -> Result<SocketAddr, String> {
    let expected = || {
        format!(
            "'{text}' is no ADDRESS:PORT; write 127.0.0.1:{example} for this machine, 0.0.0.0:{example} for all"
        )
    };
    if let Ok(port) = text.trim_start_matches(':').parse() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let found = text.to_socket_addrs().map_err(|_| expected())?.next();
    found.ok_or_else(expected)
}

impl ControlAddress {
    /// Address and port.
    pub fn socket(&self) -> SocketAddr {
        self.0
    }

    /// Whether only programs on this machine reach it.
    pub fn is_loopback(&self) -> bool {
        self.0.ip().is_loopback()
    }
}

/// A token of the user's choice, with `${NAME}` and `${file:PATH}` replaced. It is never shown.
#[derive(Clone, PartialEq)]
pub struct Token(String);

impl std::str::FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = secrets::expand(text)?;
        let plain = token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
        if token.len() < SHORTEST_TOKEN || !plain {
            return Err(format!(
                "a token has {SHORTEST_TOKEN} or more letters, digits and -._~ (openssl rand -hex 16 makes one)"
            ));
        }
        Ok(Token(token))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// A new one, of 128 bits by the system.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, std::io::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Token(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The token itself.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// How the page is served.
#[derive(Clone, Debug)]
pub struct ControlOptions {
    /// Where.
    pub address: ControlAddress,
    /// Certificate chain and private key (PEM), for https.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The token to ask for; off loopback, a random one when none.
    pub token: Option<Token>,
    /// Names under which this machine may be asked, besides its addresses and its own name.
    pub hosts: Vec<String>,
}

/// The address of this machine that others reach, for a server on all of its addresses.
pub(super) fn reachable(listening: IpAddr) -> IpAddr {
    if !listening.is_unspecified() {
        return listening;
    }
    // The system chooses the address of the way out; nothing is sent.
    let (own, far) = match listening {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let found = UdpSocket::bind(own).and_then(|socket| {
        socket.connect(far)?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_means_this_machine() {
        let of = |text: &str| text.parse::<ControlAddress>();
        for text in ["8080", ":8080", "127.0.0.1:8080", "[::1]:8080"] {
            let address = of(text).unwrap();
            assert!(address.is_loopback(), "{text}");
            assert_eq!(address.socket().port(), 8080);
        }
        for text in ["0.0.0.0:80", "[::]:80", "192.0.2.7:80"] {
            assert!(!of(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["", "80a", "127.0.0.1", "1.2.3.4:99999", "http://127.0.0.1:80"] {
            assert!(of(text).unwrap_err().contains("127.0.0.1:8080"), "{text}");
        }
    }

    #[test]
    fn tokens_are_long_and_shown_nowhere() {
        let random = Token::random().unwrap();
        assert_eq!(random.text().len(), 32);
        assert_ne!(random, Token::random().unwrap());
        assert!(!format!("{random:?}").contains(random.text()));
        assert!("0123456789abcdef".parse::<Token>().is_ok());
        for text in ["short", "0123456789abcde ", "0123456789abcdef;", "${NO_SUCH_TOKEN}"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
