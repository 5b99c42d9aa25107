//! What no RTSP client says: noise, and requests that are wrong, too large or never finished.

/// Bytes without sense, so many at a call; always the same ones.
pub fn noise() -> impl FnMut(usize) -> Vec<u8> {
    let mut state = 1u32;
    move |length| {
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..length).map(next).collect()
    }
}

/// Requests to the address `art`.
pub fn half_requests(art: &str) -> Vec<String> {
    let long = "x".repeat(100_000);
    vec![
        "DESC".to_owned(),
        format!("DESCRIBE {art} RTSP/1.0\r\nCSeq: 1\r\n"),
        format!("DESCRIBE {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 100\r\n\r\nabc"),
        format!("SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999999\r\n\r\n"),
        format!("SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n"),
        format!("SET_PARAMETER {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 60000\r\n\r\n"),
        format!("DESCRIBE {art}/{long} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        format!("DESCRIBE {art} RTSP/1.0\r\n{long}: 1\r\n\r\n"),
        format!("PLAY {art} RTSP/1.0\r\nCSeq: 1\r\nSession: 1234\r\n\r\n"),
        format!("TEARDOWN {art} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        format!(
            "SETUP {art}/stream=9 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=1-2\r\n\r\n"
        ),
        format!(
            "SETUP {art}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP;unicast;client_port=99999-1\r\n\r\n"
        ),
        format!(
            "SETUP {art}/stream=0 RTSP/1.0\r\nCSeq: 1\r\nTransport: RTP/AVP/TCP;interleaved=300-301\r\n\r\n"
        ),
        "PLAY * RTSP/1.0\r\nCSeq: 1\r\n\r\n".to_owned(),
        "GET /art HTTP/1.0\r\nx-sessioncookie: 1\r\n\r\n".to_owned(),
        "POST /art HTTP/1.0\r\nx-sessioncookie: 2\r\n\r\n".to_owned(),
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_owned(),
        "$\0\u{7f}\u{7f}".to_owned() + &"\0".repeat(200),
        "\r\n".repeat(5000),
        "\0".repeat(5000),
        format!("OPTIONS {art} RTSP/9.9\r\nCSeq: -1\r\n\r\n"),
        format!(
            "ANNOUNCE {art} RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0"
        ),
    ]
}
