//! Random numbers that depend only on their purpose, never on what was drawn before.

use fastrand::Rng;

/// A random generator for one purpose: the same seed, purpose and index give the same numbers, whatever else
/// was drawn before, on any thread.
pub fn generator(seed: u64, purpose: &str, index: u64) -> Rng {
    // FNV-1a over all three: short, and every bit counts.
    let bytes = seed.to_le_bytes().into_iter().chain(index.to_le_bytes());
    let hash = bytes.chain(purpose.bytes()).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Rng::with_seed(hash)
}

/// Two numbers of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958).
pub fn normal_pair(random: &mut Rng) -> [f32; 2] {
    // Not 0, whose logarithm is infinite.
    let radius = (-2.0 * (1.0 - random.f32()).max(f32::MIN_POSITIVE).ln()).sqrt();
    let (sin, cos) = (std::f32::consts::TAU * random.f32()).sin_cos();
    [radius * cos, radius * sin]
}

/// The order of the photos, different in each epoch.
#[derive(Debug)]
pub(super) struct PhotoOrder {
    count: u64,
    seed: u64,
    /// The last epoch and the order of its photos.
    epoch: Option<(u64, Vec<u32>)>,
}

impl PhotoOrder {
    /// Of so many photos.
    pub(super) fn new(count: u64, seed: u64) -> Self {
        PhotoOrder { count, seed, epoch: None }
    }

    /// The photo for crop `number`, or the one `shift` places after it in its epoch.
    pub(super) fn photo(&mut self, number: u64, shift: u64) -> usize {
        let (epoch, place) = (number / self.count, (number % self.count + shift) % self.count);
        if self.epoch.as_ref().is_none_or(|(known, _)| *known != epoch) {
            // Lossless: more than four thousand million photos are not expected.
            let mut order: Vec<u32> = (0..self.count as u32).collect();
            generator(self.seed, "order", epoch).shuffle(&mut order);
            self.epoch = Some((epoch, order));
        }
        let order = self.epoch.as_ref().map_or(&[][..], |(_, order)| order);
        order.get(place as usize).map_or(0, |&photo| photo as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_seed_purpose_and_index() {
        let draw = |seed, purpose, index| generator(seed, purpose, index).u64(..);
        assert_eq!(draw(1, "crop", 7), draw(1, "crop", 7));
        for other in [draw(2, "crop", 7), draw(1, "noise", 7), draw(1, "crop", 8)] {
            assert_ne!(draw(1, "crop", 7), other);
        }
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut random = generator(1, "test", 0);
        let numbers: Vec<f32> = (0..20_000).flat_map(|_| normal_pair(&mut random)).collect();
        let n = numbers.len() as f32;
        let mean = numbers.iter().sum::<f32>() / n;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn an_epoch_shows_every_photo_once() {
        let mut order = PhotoOrder::new(6, 1);
        for epoch in 0..2 {
            let seen: std::collections::BTreeSet<usize> =
                (0..6).map(|n| order.photo(6 * epoch + n, 0)).collect();
            assert_eq!(seen, (0..6).collect());
        }
    }
}
