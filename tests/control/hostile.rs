//! Requests that mean no good change nothing, leak nothing, and hold up no frame.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::http::{connect, exchange, get, request};
use crate::run::Run;

const TOKEN: &str = "a-token-that-nobody-knows-01";

/// Each a whole request; none has the token and the right names.
fn hostile(host: &str) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut add = |text: String| all.push(text.into_bytes());
    let body = r#"{"strength": 0.123}"#;
    let with = |method: &str, path: &str, headers: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    // Wrong tokens.
    for n in 0..40 {
        let token = match n {
            0 => String::new(),
            1 => TOKEN[1..].to_owned(),
            2 => TOKEN.to_uppercase(),
            3 => format!("{TOKEN} "),
            4 => format!("{TOKEN}{TOKEN}"),
            n => format!("{n:032x}"),
        };
        let cookie = format!("Cookie: nst-stream={token}; token={token}\r\n");
        // The space behind a header's value is no part of it.
        let header = if n == 3 {
            format!("Authorization: Bearer  {TOKEN}\r\n")
        } else {
            format!("Authorization: Bearer {token}\r\n")
        };
        add(with(
            "PATCH",
            "/api/v1/settings",
            &format!("Host: {host}\r\n{json}{header}{cookie}"),
            body,
        ));
    }
    // The token where it does not belong.
    for path in [
        "/api/v1/state",
        "/api/v1/settings",
        "/api/v1/models",
        "/api/v1/picture",
        "/api/v1/events",
        "/metrics",
    ] {
        for place in [
            format!("?token={TOKEN}"),
            format!("?access_token={TOKEN}"),
            format!(";token={TOKEN}"),
            String::new(),
        ] {
            let header = format!("X-Token: {TOKEN}\r\nAuthorization: Basic {TOKEN}\r\n");
            add(with("GET", &format!("{path}{place}"), &format!("Host: {host}\r\n{header}"), ""));
        }
    }
    // Other sites, and names that are not this machine's, even with the token.
    for origin in [
        "http://evil.example",
        "null",
        "https://evil.example:1",
        "http://127.0.0.1:1",
        "file://",
        "",
        " ",
    ] {
        for (method, path) in [
            ("PATCH", "/api/v1/settings"),
            ("POST", "/api/v1/snapshot"),
            ("POST", "/api/v1/recording"),
            ("GET", "/api/v1/state"),
        ] {
            add(with(
                method,
                path,
                &format!("Host: {host}\r\nOrigin: {origin}\r\n{json}{bearer}"),
                body,
            ));
        }
    }
    for site in ["cross-site", "same-site", "x"] {
        for (method, path) in [
            ("GET", "/api/v1/state"),
            ("GET", "/api/v1/picture"),
            ("POST", "/api/v1/snapshot"),
            ("PATCH", "/api/v1/settings"),
        ] {
            add(with(
                method,
                path,
                &format!("Host: {host}\r\nSec-Fetch-Site: {site}\r\n{json}{bearer}"),
                body,
            ));
        }
    }
    for name in [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.",
        "[::1",
        "a b",
        "127.0.0.1@evil",
        "",
        "2130706433",
    ] {
        for (method, path) in
            [("GET", "/"), ("GET", "/api/v1/state"), ("PATCH", "/api/v1/settings")]
        {
            add(with(method, path, &format!("Host: {name}\r\n{json}{bearer}"), body));
        }
    }
    add(with("PATCH", "/api/v1/settings", &format!("{json}{bearer}"), body));
    add(with(
        "PATCH",
        "/api/v1/settings",
        &format!("Host: {host}\r\nHost: {host}\r\n{json}{bearer}"),
        body,
    ));
    // Paths.
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/api/v1/../../etc/passwd",
        "/api/v1/models/../../thumbnail",
        "/api/v1/models/%2e%2e/thumbnail",
        "/api/v1/models/-1/thumbnail",
        "/api/v1/models/99999999999999999999/thumbnail",
        "/api/v1/snapshot/etc/passwd",
        "//etc/passwd",
        "/\\etc\\passwd",
        "/api/v1/recording?path=/etc/passwd",
        "/api/v1/recording/../../x",
        "/.git/config",
        "/index.html/..",
        "/%00",
        "/style.css%00.html",
        "/api/v1/state%0d%0aX: y",
        "http://evil.example/api/v1/state",
        "*",
    ] {
        for method in ["GET", "DELETE"] {
            add(with(method, path, &format!("Host: {host}\r\n"), ""));
        }
    }
    // Bodies.
    let deep = "[".repeat(10_000);
    let long = format!("{{\"model\": \"{}\"}}", "x".repeat(200_000));
    for body in [
        deep.as_str(),
        long.as_str(),
        "\u{0}",
        "{\"strength\": 1e999}",
        "{\"strength\": NaN}",
        "{\"strength\":0.1,\"strength\":0.2}",
    ] {
        for kind in [json, "Content-Type: application/x-www-form-urlencoded\r\n", ""] {
            add(with(
                "PATCH",
                "/api/v1/settings",
                &format!("Host: {host}\r\n{kind}{bearer}"),
                body,
            ));
        }
    }
    add(format!(
        "PATCH /api/v1/settings HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{json}{bearer}Content-Length: 99999999999\r\n\r\n{{}}"
    ));
    add(format!(
        "PATCH /api/v1/settings HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{json}{bearer}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /api/v1/state HTTP/1.1\r\n\r\n"
    ));
    // No HTTP at all.
    for text in [
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}",
        "OPTIONS rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        add(text.to_owned());
    }
    add(format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "a".repeat(100_000)));
    add(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X: y\r\n".repeat(5_000)));
    all
}

#[test]
fn two_hundred_hostile_requests_change_nothing_and_leak_nothing() {
    let run = Run::start(&["--control-token", TOKEN, "-o", "rtsp://127.0.0.1:0/art"]);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let asked = |path: &str| request(&run.host, "GET", path, &[&bearer], "");
    run.until("frames flow", |_| asked("/readyz").status == 200);
    let before = asked("/api/v1/settings").json();
    let requests = hostile(&run.host);
    assert!(requests.len() >= 200, "{}", requests.len());
    for bytes in requests {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
        let mut stream = connect(&run.host);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&bytes);
        // What is no whole request is not waited for.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains(TOKEN) && !answer.contains("root:"), "{text}\n{answer}");
        if let Some(status) = answer.split(' ').nth(1).filter(|_| answer.starts_with("HTTP/")) {
            let status: u16 = status.parse().unwrap();
            assert!((400..500).contains(&status), "{text}\n{answer}");
        }
        assert!(!answer.contains("\"settings\""), "{text}\n{answer}");
    }
    assert_eq!(asked("/api/v1/settings").json(), before);
    assert!(run.files("").is_empty(), "{:?}", run.files(""));
    assert_eq!(asked("/readyz").status, 200, "frames flow as before");
    run.ends();
}

#[test]
fn answers_bind_browsers_to_this_server() {
    let run = Run::start(&[]);
    for path in ["/", "/main.js", "/api/v1/settings", "/api/v1/nothing", "/metrics"] {
        let answer = get(&run.host, path);
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
    // Nothing in the page is loaded from elsewhere, and no code stands within it.
    let page = get(&run.host, "/").text();
    assert!(!page.contains("http://") && !page.contains("https://"), "{page}");
    assert!(!page.contains("onclick") && !page.contains("style="), "{page}");
    run.ends();
}

#[test]
fn clients_that_are_slow_or_do_not_read_cost_no_frame() {
    let run = Run::start(&["-o", "rtsp://127.0.0.1:0/art"]).ready();
    let sent = || get(&run.host, "/api/v1/state").json()["outputs"][0]["frames"].as_u64().unwrap();
    // Heads and bodies that do not come, events and pictures that are not read.
    let mut held = Vec::new();
    for n in 0..60 {
        let mut stream = connect(&run.host);
        let host = &run.host;
        let text = match n % 4 {
            0 => format!("GET /api/v1/state HTTP/1.1\r\nHost: {host}\r\nX-Slow"),
            1 => format!(
                "PATCH /api/v1/settings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{{"
            ),
            2 => format!("GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            // Many at once, one behind the other: more than the system's buffers hold.
            _ => format!("GET /api/v1/picture HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(200),
        };
        stream.write_all(text.as_bytes()).unwrap();
        held.push(stream);
    }
    let before = sent();
    run.until("frames flow beside them", |_| sent() > before + 60);
    // They are let go, and the state says what it said.
    let started = Instant::now();
    let mut slow = held.swap_remove(0);
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest);
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "a head that does not come is not waited for"
    );
    assert_eq!(get(&run.host, "/api/v1/settings").json()["strength"], 1.0);
    drop(held);
    // More connections than there is room for are closed; it answers again afterwards.
    let crowd: Vec<_> = (0..300).map(|_| connect(&run.host)).collect();
    drop(crowd);
    run.until("there is room again", |run| {
        exchange(
            &run.host,
            format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", run.host)
                .as_bytes(),
        )
        .is_some_and(|answer| answer.status == 200)
    });
    run.ends();
}
