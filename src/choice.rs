//! Enums whose values have one name each: in files, on the command line and in messages.

/// Defines such an enum, with `Display`, `FromStr` and serde by the names given.
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
