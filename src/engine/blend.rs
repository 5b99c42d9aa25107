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

    /// Of styles and their shares, above 0; none without a style.
    pub fn of(styles: impl IntoIterator<Item = (String, f64)>) -> Option<Self> {
        let styles: Vec<(String, f64)> = styles.into_iter().collect();
        (!styles.is_empty()).then_some(Blend(styles))
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

/// How many styles can be mixed while a run goes on.
pub const MOST_LIVE: usize = 16;

/// Shares of a network's first styles, in its order, that can be changed while a run goes on; they sum up to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveBlend([f32; MOST_LIVE]);

impl LiveBlend {
    /// From weights at or above 0, one for each style.
    ///
    /// # Errors
    /// A line that says what is expected: when there are more than [`MOST_LIVE`], one is negative, or none is above 0.
    pub fn of(weights: &[f64]) -> Result<Self, String> {
        let sum: f64 = weights.iter().sum();
        let known = weights.iter().all(|weight| *weight >= 0.0) && sum > 0.0 && sum.is_finite();
        if !known || weights.len() > MOST_LIVE {
            return Err(format!(
                "expected shares of at least 0, one of them above 0, of up to {MOST_LIVE} styles"
            ));
        }
        let mut shares = [0.0; MOST_LIVE];
        shares.iter_mut().zip(weights).for_each(|(share, weight)| *share = (weight / sum) as f32);
        Ok(LiveBlend(shares))
    }

    /// The shares of so many styles.
    pub fn shares(&self, styles: usize) -> &[f32] {
        &self.0[..styles.min(MOST_LIVE)]
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
    fn live_shares_sum_up_to_one() {
        assert_eq!(LiveBlend::of(&[3.0, 0.0, 1.0]).unwrap().shares(3), [0.75, 0.0, 0.25]);
        for nonsense in [&[0.0, 0.0][..], &[1.0, -0.1], &[f64::NAN], &[f64::INFINITY], &[]] {
            assert!(LiveBlend::of(nonsense).is_err(), "{nonsense:?}");
        }
        assert!(LiveBlend::of(&[1.0; 17]).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ":1", "a:0", "a:-1", "a:x", "a,,b", "a:inf"] {
            assert!(text.parse::<Blend>().is_err(), "{text}");
        }
    }
}
