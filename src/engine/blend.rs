//! Which styles of a multi-style network are painted, and the share of each.

use std::fmt;
use std::str::FromStr;

/// Styles by name, each with its share.
#[derive(Clone, Debug, PartialEq)]
pub struct Blend(Vec<(String, f64)>);

impl Blend {
    /// One style alone.
    pub fn only(style: &str) -> Self {
        Blend(vec![(style.to_owned(), 1.0)])
    }

    /// The share of each of a network's styles, in its order; they sum up to 1.
    ///
    /// # Errors
    /// The name that none of the styles has.
    pub fn shares(&self, styles: &[String]) -> Result<Vec<f32>, String> {
        let sum: f64 = self.0.iter().map(|(_, share)| share).sum();
        let mut shares = vec![0.0; styles.len()];
        for (name, share) in &self.0 {
            let place =
                styles.iter().position(|style| style == name).ok_or_else(|| name.clone())?;
            shares[place] += (share / sum) as f32;
        }
        Ok(shares)
    }
}

/// The weighted sum of `rows`, one row of `channels` values for each style.
pub(super) fn mixed(rows: &[f32], channels: usize, shares: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; channels];
    for (row, share) in rows.chunks(channels.max(1)).zip(shares) {
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += share * value);
    }
    sum
}

impl FromStr for Blend {
    type Err = String;

    /// `wave`, or `mosaic:0.6,wave:0.4`
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected STYLE or STYLE:SHARE,STYLE:SHARE…, shares above 0".to_owned();
        let mut styles = Vec::new();
        for part in text.split(',') {
            let (name, share) = part.rsplit_once(':').unwrap_or((part, "1"));
            let share = share.parse().ok().filter(|s: &f64| *s > 0.0 && s.is_finite());
            let share = share.filter(|_| !name.trim().is_empty()).ok_or_else(expected)?;
            styles.push((name.trim().to_owned(), share));
        }
        Ok(Blend(styles))
    }
}

impl fmt::Display for Blend {
    /// `wave`, or `mosaic:0.6,wave:0.4`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [(name, _)] => f.write_str(name),
            several => {
                let parts = several.iter().map(|(name, share)| format!("{name}:{share}"));
                f.write_str(&parts.collect::<Vec<_>>().join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_networks_order_and_sum_up_to_one() {
        let styles = ["a", "b", "c"].map(str::to_owned);
        let blend: Blend = "c:3,a:1".parse().unwrap();
        assert_eq!(blend.shares(&styles).unwrap(), [0.25, 0.0, 0.75]);
        assert_eq!(Blend::only("b").shares(&styles).unwrap(), [0.0, 1.0, 0.0]);
        assert_eq!("d".parse::<Blend>().unwrap().shares(&styles), Err("d".to_owned()));
        assert_eq!(blend.to_string(), "c:3,a:1");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ":1", "a:0", "a:-1", "a:x", "a,,b", "a:inf"] {
            assert!(text.parse::<Blend>().is_err(), "{text}");
        }
    }
}
