//! Random numbers that are the same on every machine and with every version of every library: SplitMix64.
//!
//! Source of the constants: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).

use opencv::core::Scalar;

/// The generator.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to below `n`, which is small: the bias is below n / 2^64.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Returns a number from `low` to below `high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        low + (high - low) * unit
    }

    pub(super) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }

    /// Returns a strong colour of any hue, as BGR.
    pub(super) fn vivid(&mut self) -> Scalar {
        let (hue, saturation, value) = (
            self.between(0.0, 6.0),
            self.between(0.55, 1.0),
            self.between(130.0, 250.0),
        );
        hsv(hue, saturation, value)
    }

    /// Returns any colour, as BGR.
    pub(super) fn dull(&mut self) -> Scalar {
        let (hue, saturation, value) = (
            self.between(0.0, 6.0),
            self.between(0.0, 0.6),
            self.between(20.0, 235.0),
        );
        hsv(hue, saturation, value)
    }

    /// Returns a colour that stands out from another: nearly white on the dark ones, nearly black or white on the light.
    pub(super) fn accent(&mut self, from: Scalar) -> Scalar {
        let light = 0.114 * from[0] + 0.587 * from[1] + 0.299 * from[2];
        let level = if light < 120.0 || self.below(2) == 0 && light < 160.0 {
            self.between(215.0, 255.0)
        } else {
            self.between(10.0, 50.0)
        };
        Scalar::new(level, level, level, 0.0)
    }
}

/// Returns as BGR a hue from 0 to 6, a saturation from 0 to 1 and a value from 0 to 255.
fn hsv(hue: f64, saturation: f64, value: f64) -> Scalar {
    let channel = |offset: f64| {
        let k = (offset + hue) % 6.0;
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    };
    Scalar::new(channel(1.0), channel(3.0), channel(5.0), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        let mut random = Random::new(1_234_567);
        assert_eq!(
            [random.next(), random.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!((-2.0..3.0).contains(&random.between(-2.0, 3.0)) && random.below(7) < 7);
            assert!(random.vivid().0.iter().all(|c| (0.0..=255.0).contains(c)));
        }
    }
}
