//! Money: US dollars in whole billionths, so that sums are exact and comparisons never waver.

use std::fmt;
use std::iter::Sum;

/// An amount of US dollars, 0 or more, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

const BILLION: f64 = 1_000_000_000.0;

impl Usd {
    /// Zero dollars.
    pub const ZERO: Self = Self(0);

    /// From dollars, rounded to the nearest billionth; what is below zero or no number is nothing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates, and so it shall
    pub fn from_dollars(dollars: f64) -> Self {
        Self((dollars * BILLION).round() as u64)
    }

    /// In dollars.
    #[allow(clippy::cast_precision_loss)] // a billionth in ten million dollars
    pub fn dollars(self) -> f64 {
        self.0 as f64 / BILLION
    }

    /// From billionths of a dollar.
    #[cfg(test)]
    pub(crate) const fn from_billionths(billionths: u64) -> Self {
        Self(billionths)
    }

    /// The sum; the most there is when it does not fit.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; nothing when `other` is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// A hundredth, rounded down.
    #[must_use]
    pub const fn hundredth(self) -> Self {
        Self(self.0 / 100)
    }

    /// Returns whether this is `percent` of `whole` or more.
    pub fn has_reached(self, percent: u8, whole: Self) -> bool {
        u128::from(self.0) * 100 >= u128::from(whole.0) * u128::from(percent)
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.4}", self.dollars())
    }
}

/// Returns the cost of tokens in US dollars; an unknown price counts as zero. Prices are dollars for a
/// million tokens.
pub fn cost_usd(input: u64, output: u64, price_input: Option<f64>, price_output: Option<f64>) -> f64 {
    #[allow(clippy::cast_precision_loss)] // token counts stay far below 2^52
    let part = |tokens: u64, price: Option<f64>| tokens as f64 * price.unwrap_or(0.0) / 1_000_000.0;
    part(input, price_input) + part(output, price_output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact_to_the_billionth() {
        assert_eq!(Usd::from_dollars(0.1).plus(Usd::from_dollars(0.2)), Usd::from_dollars(0.3));
        assert_eq!(Usd::from_dollars(1.5).dollars(), 1.5);
        for nothing in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Usd::from_dollars(nothing), Usd::ZERO);
        }
        assert_eq!(Usd::from_dollars(f64::INFINITY), Usd(u64::MAX));
        assert_eq!(Usd::from_dollars(2.5).to_string(), "$2.5000");
    }

    #[test]
    fn percentage_is_exact_to_the_billionth() {
        let cap = Usd::from_billionths(1_000);
        assert!(Usd::from_billionths(800).has_reached(80, cap));
        assert!(!Usd::from_billionths(799).has_reached(80, cap));
        assert!(Usd(u64::MAX).has_reached(100, Usd(u64::MAX)));
    }
}
