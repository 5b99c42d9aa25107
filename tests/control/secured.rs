//! Off loopback: a token, and https.

use std::process::Command;

use crate::http::{get, request};
use crate::run::Run;

/// A run on all addresses, asked by that of loopback.
fn everywhere(args: &[&str]) -> (Run, String) {
    let run = Run::of(
        &[&["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", "0.0.0.0:0"], args].concat(),
    );
    let port = run.host.rsplit(':').next().unwrap();
    let host = format!("127.0.0.1:{port}");
    (run, host)
}

#[test]
fn off_loopback_a_token_is_needed_which_is_shown_once() {
    let (run, host) = everywhere(&["-vv"]);
    let token = run.link.split("#token=").nth(1).expect("a token").to_owned();
    assert_eq!(token.len(), 32);
    for path in
        ["/api/v1/state", "/api/v1/settings", "/api/v1/picture", "/api/v1/events", "/metrics"]
    {
        assert_eq!(get(&host, path).status, 401, "{path}");
    }
    for path in ["/", "/main.js", "/healthz", "/api/v1/openapi.json"] {
        assert_eq!(get(&host, path).status, 200, "{path}");
    }
    let refused = request(&host, "PATCH", "/api/v1/settings", &[], r#"{"strength": 0}"#);
    assert_eq!(refused.status, 401);
    assert!(refused.json()["error"].as_str().unwrap().contains("link"), "{}", refused.text());
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(request(&host, "GET", "/metrics", &[&bearer], "").status, 200);

    let wrong = request(
        &host,
        "POST",
        "/api/v1/session",
        &[],
        r#"{"token": "0123456789abcdef0123456789abcdef"}"#,
    );
    assert_eq!((wrong.status, wrong.header("set-cookie").as_str()), (401, ""));
    let right =
        request(&host, "POST", "/api/v1/session", &[], &format!(r#"{{"token": "{token}"}}"#));
    assert_eq!(right.status, 204);
    let cookie = right.header("set-cookie");
    assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let state = request(&host, "GET", "/api/v1/state", &[&cookie], "");
    assert_eq!(
        (state.status, &state.json()["settings"]["strength"]),
        (200, &serde_json::json!(1.0))
    );
    let said = run.ends().stderr;
    assert_eq!(said.matches(&token).count(), 1, "in the link alone");
}

#[test]
fn a_token_of_the_users_own_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "my-own-token-of-24-chars\n").unwrap();
    let (run, host) =
        everywhere(&["-vv", "--control-token", &format!("${{file:{}}}", file.display())]);
    let with = |token: &str| {
        request(&host, "GET", "/api/v1/settings", &[&format!("Authorization: Bearer {token}")], "")
            .status
    };
    assert_eq!((with("my-own-token-of-24-chars"), with("my-own-token-of-24-char")), (200, 401));
    assert!(!run.ends().stderr.contains("my-own-token"));
}

#[test]
fn https_with_a_certificate_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-days",
            "2",
        ])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = Run::start(&["--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    assert!(run.link.starts_with("https://127.0.0.1:"), "{}", run.link);
    let fetch = |ca: &str| {
        let script = "import ssl, sys, urllib.request as u; \
            print(u.urlopen(sys.argv[1] + 'healthz', context=ssl.create_default_context(cafile=sys.argv[2] or None)).read())";
        Command::new("python3").args(["-c", script, &run.link, ca]).output().unwrap()
    };
    let trusted = fetch(&path("cert.pem"));
    assert!(trusted.status.success(), "{}", String::from_utf8_lossy(&trusted.stderr));
    assert!(String::from_utf8_lossy(&trusted.stdout).contains("ok"));
    assert!(!fetch("").status.success(), "it is checked");
    // Plain HTTP gets no answer there.
    assert!(crate::http::exchange(&run.host, b"GET / HTTP/1.1\r\n\r\n").is_none());
    run.ends();

    let refused = |args: &[&str]| {
        let all = [&["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", "127.0.0.1:0"], args]
            .concat();
        let out = crate::common::nst().args(all).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = refused(&["--tls-cert", &path("key.pem"), "--tls-key", &path("key.pem")]);
    assert!(code == Some(1) && said.contains("key.pem' holds no certificate"), "{said}");
    let (code, said) = refused(&["--tls-cert", &path("none.pem"), "--tls-key", &path("key.pem")]);
    assert!(code == Some(1) && said.contains("none.pem"), "{said}");
    let (code, said) = refused(&["--tls-cert", &path("cert.pem")]);
    assert!(code == Some(2) && said.contains("--tls-key"), "{said}");
    let (code, said) = refused(&["--control-token", "short"]);
    assert!(code == Some(2) && said.contains("16 or more"), "{said}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["-m", "mosaic-lite", "-i", "test:96x64@15", "--control", &address];
    let out = crate::common::nst().args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("cannot serve {address}")) && said.contains("in use"), "{said}");
}
