//! Subtitle text without markup.

use gstreamer as gst;

/// Tags of SubRip, WebVTT and Pango; anything else in angle brackets is text.
const TAGS: [&str; 15] = [
    "i", "b", "u", "s", "tt", "big", "small", "sub", "sup", "font", "span", "c", "v", "lang",
    "ruby",
];

/// How the text of a subtitle is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextConversion {
    /// They are left as they are.
    Same,
    /// Markup is removed.
    Markup,
    /// ASS becomes plain text.
    Ass,
    /// WebVTT likewise; a whole cue has two lines before its text.
    Vtt { whole_cue: bool },
}

impl TextConversion {
    /// The caps of the converted packets, for packets with the caps `caps`.
    pub fn caps(self, caps: &gst::Caps) -> gst::Caps {
        if self == TextConversion::Same
            && caps.structure(0).is_some_and(|s| s.name() != "text/x-raw")
        {
            return caps.clone();
        }
        gst::Caps::builder("text/x-raw").field("format", "utf8").build()
    }

    /// The packet with its text converted; none if no text remains.
    pub fn of(self, packet: &gst::BufferRef) -> Option<gst::Buffer> {
        let bytes = packet.map_readable().ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = match self {
            TextConversion::Ass => plain_of_ass(text.trim_end_matches('\0')),
            TextConversion::Vtt { whole_cue: true } => {
                plain(text.splitn(3, '\n').nth(2).unwrap_or_default())
            }
            _ => plain(text.trim_end_matches('\0')),
        };
        (!text.trim().is_empty()).then(|| gst::Buffer::from_slice(text.into_bytes()))
    }
}

/// `<i>Rock &amp; roll</i>` → `Rock & roll`; also without the `{\an8}` of SubStation Alpha.
fn plain(text: &str) -> String {
    // Some demuxers escape what they take for text, tags included: those are found afterwards.
    without_tags(&decoded(&without_tags(&without_overrides(text)))).trim_end().to_owned()
}

fn without_overrides(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find("{\\") {
        let Some(end) = rest[start..].find('}') else { break };
        plain.push_str(&rest[..start]);
        rest = &rest[start + end + 1..];
    }
    plain + rest
}

fn without_tags(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('<') {
        plain.push_str(&rest[..start]);
        let tag = &rest[start + 1..];
        match tag.find('>').filter(|end| is_tag(&tag[..*end])) {
            Some(end) => rest = &tag[end + 1..],
            None => {
                plain.push('<');
                rest = tag;
            }
        }
    }
    plain + rest
}

fn is_tag(inside: &str) -> bool {
    let inside = inside.strip_prefix('/').unwrap_or(inside);
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inside.len());
    let (name, after) = inside.split_at(end);
    let known = TAGS.iter().any(|tag| tag.eq_ignore_ascii_case(name));
    known && (after.is_empty() || after.starts_with([' ', '.', '/', '\t', '\n']))
}

fn decoded(text: &str) -> String {
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        let entity = &rest[start + 1..];
        // The longest is &#1114111;
        let end = entity.char_indices().take(9).find(|(_, c)| *c == ';').map(|(at, _)| at);
        match end.and_then(|end| Some((end, character(&entity[..end])?))) {
            Some((end, character)) => {
                plain.push(character);
                rest = &entity[end + 1..];
            }
            None => {
                plain.push('&');
                rest = entity;
            }
        }
    }
    plain + rest
}

fn character(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "lrm" => '\u{200e}',
        "rlm" => '\u{200f}',
        entity => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')?
        }
    })
}

/// The words of an ASS event, whose first eight fields say how it is shown.
fn plain_of_ass(event: &str) -> String {
    let words = event.splitn(9, ',').nth(8).unwrap_or_default();
    plain(&words.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_goes_and_text_stays() {
        for (markup, text) in [
            ("<i>Rock &amp; roll</i>", "Rock & roll"),
            ("&lt;i&gt;escaped&lt;/i&gt; 1 &lt; 2", "escaped 1 < 2"),
            ("a < b > c & d", "a < b > c & d"),
            ("<font color=\"#ff0000\">red</font>\r\nline", "red\r\nline"),
            ("<v Anna>Hi <c.loud>there</c>", "Hi there"),
            ("{\\an8}above {really}", "above {really}"),
            ("&#39;x&#x27; &bogus; &", "'x' &bogus; &"),
            ("<3 ü <schön>", "<3 ü <schön>"),
            ("{\\unclosed <b", "{\\unclosed <b"),
            ("&ääääääää;", "&ääääääää;"),
            ("", ""),
        ] {
            assert_eq!(plain(markup), text);
        }
    }

    #[test]
    fn an_ass_event_is_its_words() {
        let event = "3,0,Default,,0,0,0,,Hello, {\\i1}you{\\i0}\\Nthere";
        assert_eq!(plain_of_ass(event), "Hello, you\nthere");
        assert_eq!(plain_of_ass("broken"), "");
    }
}
