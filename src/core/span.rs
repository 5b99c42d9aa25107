//! Times on the command line, and parts of a video.

use std::time::Duration;

/// A part of a video.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Start; none: the beginning.
    pub start: Option<Duration>,
    /// Duration; none: to the end.
    pub duration: Option<Duration>,
}

impl Span {
    /// Duration of the span within a video of this length; none if both are unknown.
    pub fn of(&self, whole: Option<Duration>) -> Option<Duration> {
        let rest = whole.map(|whole| whole.saturating_sub(self.start.unwrap_or_default()));
        match (rest, self.duration) {
            (Some(rest), Some(duration)) => Some(rest.min(duration)),
            (rest, duration) => rest.or(duration),
        }
    }
}

/// Parses a time: seconds (`12`, `12.5`, `12.5s`), `MM:SS` or `HH:MM:SS`, each with a fraction.
///
/// # Errors
/// A line that says what is expected.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || format!("'{text}' is not a time; write seconds (12.5), MM:SS or HH:MM:SS");
    let mut seconds = 0.0;
    let parts: Vec<&str> = text.trim().trim_end_matches('s').split(':').collect();
    if parts.len() > 3 {
        return Err(expected());
    }
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let digits = |c: char| c.is_ascii_digit() || (last && c == '.');
        if part.is_empty() || !part.chars().all(digits) {
            return Err(expected());
        }
        let value: f64 = part.parse().map_err(|_| expected())?;
        if i > 0 && value >= 60.0 {
            return Err(expected());
        }
        seconds = seconds * 60.0 + value;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| expected())
}

/// Parses the length of a span: a time that is not zero.
///
/// # Errors
/// A line that says what is expected.
pub fn parse_length(text: &str) -> Result<Duration, String> {
    let length = parse_time(text)?;
    match length.is_zero() {
        true => Err(format!("'{text}' is no length; write more than 0 seconds")),
        false => Ok(length),
    }
}

/// A rounded duration for messages: `45 s`, `7 minutes`, `2 h 5 min`.
pub fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        s if s < 1.5 => "1 s".to_owned(),
        s if s < 90.0 => format!("{} s", s.round()),
        s if s < 90.0 * 60.0 => format!("{minutes} minutes"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let ms = |text| parse_time(text).unwrap().as_millis();
        assert_eq!(ms("0"), 0);
        assert_eq!(ms("12.5"), 12_500);
        assert_eq!(ms("3s"), 3_000);
        assert_eq!(ms("1:02.25"), 62_250);
        assert_eq!(ms("1:00:01"), 3_601_000);
        for wrong in ["", "-1", "1:60", "1:2:3:4", "abc", "1.5:00", ":5", "1e3", "inf"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert!(parse_length("0:00.0").is_err() && parse_length("0.001").is_ok());
    }

    #[test]
    fn a_span_is_cut_to_what_there_is() {
        let s = Duration::from_secs;
        let span = Span { start: Some(s(3)), duration: Some(s(5)) };
        assert_eq!(span.of(Some(s(10))), Some(s(5)));
        assert_eq!(span.of(Some(s(6))), Some(s(3)));
        assert_eq!(span.of(None), Some(s(5)));
        assert_eq!(Span::default().of(Some(s(6))), Some(s(6)));
    }

    #[test]
    fn lengths_are_told_roundly() {
        let tell = |s| about(Duration::from_secs_f64(s));
        assert_eq!(tell(0.2), "1 s");
        assert_eq!(tell(44.6), "45 s");
        assert_eq!(tell(396.0), "7 minutes");
        assert_eq!(tell(7500.0), "2 h 5 min");
    }
}
