//! Values of the command line: enums whose values have one name each, used in files and messages too, and
//! names with weights.

/// Defines such an enum, with `Display`, `FromStr` and serde implementations that use the given names.
macro_rules! choice {
    ($(#[$about:meta])* $name:ident {
        $($(#[$what:meta])* $value:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$what])* #[serde(rename = $text)] $value),+ }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$value => $text),+ })
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$value),)+
                    _ => Err(format!("expected {}", [$($text),+].join(", "))),
                }
            }
        }
    };
}

/// Parses `a.jpg` (weight 1) or `a.jpg:0.7`. A name may contain colons: only a number after the last
/// one is a weight.
///
/// # Errors
/// When the weight is not above 0.
pub fn weighted(text: &str) -> Result<(&str, f64), String> {
    let parts = text.rsplit_once(':').and_then(|(name, w)| Some((name, w.parse().ok()?)));
    let (name, weight): (&str, f64) = parts.unwrap_or((text, 1.0));
    if weight > 0.0 && weight.is_finite() {
        Ok((name, weight))
    } else {
        Err(format!("'{text}': a weight must be above 0"))
    }
}
