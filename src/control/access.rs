//! Who may ask: nobody but this program's own page and whoever knows the token.
//!
//! - `Host` must name this machine, so that no foreign name can be pointed at it (DNS rebinding).
//! - What a browser sends for a page of another site is refused (`Origin`, `Sec-Fetch-Site`).
//! - Off loopback, a token is needed, as a cookie or as `Authorization: Bearer`.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::answer::{Refusal, secured};
use super::options::Token;
use super::shared::Shared;

/// What is checked of each request.
pub(super) struct Access {
    token: Option<Token>,
    hosts: Vec<String>,
    https: bool,
    port: u16,
}

/// What needs no token: the page itself, which holds nothing of the run, the way to sign in, and whether it is alive.
const OPEN: [&str; 4] = ["/api/v1/session", "/api/v1/openapi.json", "/healthz", "/readyz"];

impl Access {
    /// `hosts`: names of this machine besides `localhost` and its host name.
    pub fn new(token: Option<Token>, hosts: &[String], https: bool, port: u16) -> Self {
        let mut all: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        all.push("localhost".to_owned());
        if let Ok(own) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            let own = own.trim().to_ascii_lowercase();
            all.push(format!("{own}.local"));
            all.push(own);
        }
        Access { token, hosts: all, https, port }
    }

    /// Whether a token is needed.
    pub fn is_guarded(&self) -> bool {
        self.token.is_some()
    }

    /// Compares in constant time; true where none is needed.
    pub fn is_token(&self, given: &str) -> bool {
        self.token
            .as_ref()
            .is_none_or(|token| bool::from(token.text().as_bytes().ct_eq(given.as_bytes())))
    }

    /// The cookie that holds the token from now on. Cookies are those of all ports of a host: its name holds the port.
    pub fn cookie(&self) -> Option<HeaderValue> {
        let token = self.token.as_ref()?.text();
        let secure = if self.https { "; Secure" } else { "" };
        let name = self.cookie_name();
        let text = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict{secure}");
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn cookie_name(&self) -> String {
        format!("nst-stream-{}", self.port)
    }

    /// Why a request is refused, if it is.
    fn refuses(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Refusal> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let only = headers.get_all(HOST).iter().count() == 1;
        let Some(host) = text(HOST).filter(|host| only && self.names_this_machine(host)) else {
            return Some(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "this is not a name of this machine; ask by its address, or give the name with --control-host",
            ));
        };
        let scheme = if self.https { "https" } else { "http" };
        let own = format!("{scheme}://{host}");
        let foreign = headers.contains_key(ORIGIN)
            && !text(ORIGIN).is_some_and(|origin| origin.eq_ignore_ascii_case(&own));
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
        let other_site = site.is_some_and(|site| !matches!(site, "same-origin" | "none"));
        // A link on another page may open this one, and nothing else.
        let opens = method == Method::GET
            && uri.path() == "/"
            && headers.get("sec-fetch-dest").is_some_and(|dest| dest == "document");
        if foreign || other_site && !opens {
            return Some(Refusal::new(StatusCode::FORBIDDEN, "pages of other sites may not ask"));
        }
        let open = OPEN.contains(&uri.path()) || super::page::is_part(uri.path());
        if !open && !self.has_token(headers) {
            return Some(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "a token is needed: open the link that nst-stream has printed, or send it as \
                 'Authorization: Bearer TOKEN'",
            ));
        }
        None
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        if !self.is_guarded() {
            return true;
        }
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let name = self.cookie_name();
        let mut cookies = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        bearer.is_some_and(|token| self.is_token(token))
            || cookies.any(|(of, token)| of == name && self.is_token(token))
    }

    /// An address, or one of its names; with any port, since ports may be forwarded.
    fn names_this_machine(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        if port.is_some_and(|port| !is_port(port)) {
            return false;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let address = bare.unwrap_or(name).parse::<IpAddr>();
        match address {
            // Without a token, only this machine is served.
            Ok(address) => self.is_guarded() || address.is_loopback(),
            Err(_) => self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name)),
        }
    }
}

/// Lets a request pass, or refuses it; every answer gets the headers that bind browsers.
pub(super) async fn guard(
    State(shared): State<std::sync::Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let refusal = shared.access.refuses(request.method(), request.uri(), request.headers());
    let answer = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    secured(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn status(access: &Access, path: &str, pairs: &[(&'static str, &str)]) -> u16 {
        let uri = path.parse().unwrap();
        let refused = access.refuses(&Method::GET, &uri, &headers(pairs));
        refused.map_or(200, |refusal| refusal.status().as_u16())
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let access = Access::new(None, &["studio.example".to_owned()], false, 80);
        let asked = |host: &str| status(&access, "/api/v1/state", &[("host", host)]);
        for host in
            ["127.0.0.1:80", "127.0.0.1", "localhost:9", "[::1]:80", "[::1]", "Studio.Example:1"]
        {
            assert_eq!(asked(host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "192.0.2.1:80",
            "localhost.evil.example",
            "127.0.0.1:x",
            "",
            "[::1",
            "a:b:c",
        ] {
            assert_eq!(asked(host), 421, "{host}");
        }
        assert_eq!(status(&access, "/", &[]), 421);
        assert_eq!(status(&access, "/", &[("host", "localhost"), ("host", "localhost")]), 421);
    }

    #[test]
    fn pages_of_other_sites_ask_in_vain() {
        let access = Access::new(None, &[], false, 80);
        let asked = |more: &[(&'static str, &str)]| {
            status(&access, "/api/v1/state", &[&[("host", "localhost:80")], more].concat())
        };
        assert_eq!(
            asked(&[("origin", "http://localhost:80"), ("sec-fetch-site", "same-origin")]),
            200
        );
        assert_eq!(asked(&[("sec-fetch-site", "none")]), 200);
        for origin in ["http://evil.example", "null", "https://localhost:80", "http://localhost:81"]
        {
            assert_eq!(asked(&[("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(asked(&[("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(asked(&[("sec-fetch-site", "same-site")]), 403);
        let link = [
            ("host", "localhost"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(status(&access, "/", &link), 200, "a link may open the page");
    }

    #[test]
    fn the_token_is_taken_as_cookie_or_header() {
        let token: Token = "0123456789abcdef".parse().unwrap();
        let access = Access::new(Some(token), &[], true, 443);
        let asked = |more: &[(&'static str, &str)]| {
            status(&access, "/api/v1/state", &[&[("host", "192.0.2.1:443")], more].concat())
        };
        assert_eq!(asked(&[]), 401);
        assert_eq!(asked(&[("authorization", "Bearer 0123456789abcdef")]), 200);
        assert_eq!(asked(&[("cookie", "a=b; nst-stream-443=0123456789abcdef")]), 200);
        for (name, value) in [
            ("authorization", "Bearer 0123456789abcdee"),
            ("authorization", "Bearer 0123456789abcdef0"),
            ("authorization", "Basic 0123456789abcdef"),
            ("authorization", "Bearer "),
            ("cookie", "nst-stream-80=0123456789abcdef"),
            ("cookie", "nst-stream-443="),
        ] {
            assert_eq!(asked(&[(name, value)]), 401, "{name}: {value}");
        }
        let cookie = access.cookie().unwrap();
        assert!(cookie.is_sensitive());
        assert!(cookie.to_str().unwrap().ends_with("; HttpOnly; SameSite=Strict; Secure"));
        assert_eq!(status(&access, "/", &[("host", "192.0.2.1:443")]), 200, "the page itself");
    }
}
