//! Pipelines as Graphviz graphs, without passwords and user names.

use gst::prelude::*;
use gstreamer as gst;

/// Properties whose values are secret.
const SECRET: [&str; 10] = [
    "user-id=",
    "user-pw=",
    "proxy-id=",
    "proxy-pw=",
    "username=",
    "password=",
    "passphrase=",
    "streamid=",
    // The key of an RTMP stream.
    "nstream=",
    "secure-token=",
];

/// The pipeline as a graph, without users and passwords.
pub(super) fn dot(pipeline: &gst::Pipeline) -> String {
    without_secrets(&pipeline.debug_to_dot_data(gst::DebugGraphDetails::all()))
}

fn without_secrets(dot: &str) -> String {
    let mut text = dot.to_owned();
    for key in SECRET {
        text = text.split(key).enumerate().fold(String::new(), |text, (number, part)| {
            let rest = if number == 0 { part } else { &part[length_of_value(part)..] };
            let hidden = if number == 0 { "" } else { "…" };
            let key = if number == 0 { "" } else { key };
            text + key + hidden + rest
        });
    }
    without_users(&text)
}

/// Length of a value: lines of a label are separated by `\n`, and the label ends with a quote; both are\n/// escaped within values.
fn length_of_value(text: &str) -> usize {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return at,
            '\\' => match chars.next() {
                Some((_, 'n')) | None => return at,
                Some(_) => {}
            },
            _ => {}
        }
    }
    text.len()
}

/// `rtsp://user:password@host` → `rtsp://…@host`.
fn without_users(text: &str) -> String {
    text.split("://").enumerate().fold(String::new(), |text, (number, part)| {
        if number == 0 {
            return part.to_owned();
        }
        let ends = |c: char| c.is_whitespace() || "/\"\\?#".contains(c);
        let host = part.find(ends).unwrap_or(part.len());
        if text.ends_with("rtmp") || text.ends_with("rtmps") {
            // The path ends with the stream's key.
            let path = part.find(|c: char| c.is_whitespace() || "\"\\".contains(c));
            return text + "://…" + &part[path.unwrap_or(part.len())..];
        }
        let rest = part[..host].rfind('@').map_or(part, |at| &part[at..]);
        let hidden = if rest.len() < part.len() { "…" } else { "" };
        text + "://" + hidden + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_left_out() {
        let dot = r#"a [label="GstRTSPSrc\nsrc\nlocation=\"rtsp://cam/1\"\nuser-id=\"me\"\nuser-pw=\"a\\n\\\"b c\"\nlatency=0"]
b [label="x\nuser-pw=\"last\""] c [label="location=\"rtsp://you:p@ss@cam:554/1@2\""]"#;
        let text = without_secrets(dot);
        for secret in ["me\\", "b c", "last", "you", "p@ss"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        for kept in ["latency=0", "rtsp://cam/1", "rtsp://…@cam:554/1@2", "b [label", "c [label"]
        {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }

    #[test]
    fn a_real_element_is_drawn_without_its_password() {
        gst::init().unwrap();
        let pipeline = gst::parse::launch("rtspsrc name=src ! fakesink").unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let src = pipeline.by_name("src").unwrap();
        for password in ["s3cret", "a\nb s3cret", "\\n s3cret", "\"s3cret\"", "né s3cret"] {
            src.set_property("user-id", "s3cret-user");
            src.set_property("user-pw", password);
            let text = dot(&pipeline);
            assert!(text.contains("user-pw=") && !text.contains("s3cret"), "{password}: {text}");
        }
    }
}
