//! Money: integer micro-dollars, parsed as decimals, never a float.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// An amount of US dollars in micro-dollars (1 USD = 1,000,000). May be negative (a charge, an
/// overdrawn balance).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

const MICROS: i64 = 1_000_000;

/// The largest amount that [`Money::from_str`] accepts: one billion dollars. Sums of a year of
/// solves stay far below `i64::MAX` micro-dollars.
pub const MONEY_MAX: Money = Money(1_000_000_000 * MICROS);

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// An amount in micro-dollars.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The amount in micro-dollars.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The amount in dollars, for metrics only; never for arithmetic on money.
    #[expect(
        clippy::cast_precision_loss,
        clippy::float_arithmetic,
        reason = "a view for graphs, not for bills"
    )]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// Adds; panics on overflow, which bounded inputs rule out (a wrong sum of money is worse than a
/// lost reply).
impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let Some(sum) = self.0.checked_add(other.0) else {
            panic!("money overflow: {self} + {other}")
        };
        Self(sum)
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let Some(difference) = self.0.checked_sub(other.0) else {
            panic!("money overflow: {self} - {other}")
        };
        Self(difference)
    }
}

impl Neg for Money {
    type Output = Self;
    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Prints dollars with at least two and at most six decimals: `10.00`, `0.0025`, `-0.003`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let absolute = self.0.unsigned_abs();
        let (whole, fraction) =
            (absolute / MICROS.unsigned_abs(), absolute % MICROS.unsigned_abs());
        let digits = format!("{fraction:06}");
        let shown = digits.trim_end_matches('0');
        let shown = if shown.len() < 2 { &digits[..2] } else { shown };
        f.pad(&format!("{sign}{whole}.{shown}"))
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}")
    }
}

/// Why a text is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseMoneyError {
    /// Not of the form `12`, `12.5` or `-0.000001`.
    #[error("not a decimal amount of dollars, such as 12.50")]
    Malformed,
    /// More than six decimals.
    #[error("more than 6 decimals; the smallest unit is 0.000001")]
    TooPrecise,
    /// Beyond plus or minus [`MONEY_MAX`].
    #[error("beyond 1,000,000,000")]
    TooLarge,
}

impl FromStr for Money {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, ParseMoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) {
            return Err(ParseMoneyError::Malformed);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 6 {
            return Err(ParseMoneyError::TooPrecise);
        }
        let whole: i64 = whole.parse().map_err(|_| ParseMoneyError::TooLarge)?;
        let fraction: i64 =
            format!("{fraction:0<6}").parse().map_err(|_| ParseMoneyError::Malformed)?;
        let micros = whole.checked_mul(MICROS).and_then(|m| m.checked_add(fraction));
        match micros {
            Some(micros) if micros <= MONEY_MAX.0 => {
                Ok(Self(if negative { -micros } else { micros }))
            }
            _ => Err(ParseMoneyError::TooLarge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_survive_a_round_trip_to_the_micro_dollar() {
        for (text, micros, shown) in [
            ("0", 0, "0.00"),
            ("10", 10_000_000, "10.00"),
            ("0.003", 3_000, "0.003"),
            ("0.0025", 2_500, "0.0025"),
            ("-0.000001", -1, "-0.000001"),
            ("5.10", 5_100_000, "5.10"),
            ("1.2000000", 1_200_000, "1.20"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.micros(), micros, "{text}");
            assert_eq!(money.to_string(), shown);
        }
    }

    #[test]
    fn it_adds_up_changes_sign_and_is_shown_in_dollars() {
        let amounts = [2_000_000, 500_000].map(Money::from_micros);
        let sum: Money = amounts.into_iter().sum();
        assert_eq!(sum, Money::from_micros(2_500_000));
        assert_eq!(-sum, Money::from_micros(-2_500_000));
        assert_eq!(format!("{:?}", -sum), "$-2.50");
        assert_eq!(sum.as_usd().to_string(), "2.5");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for (text, error) in [
            ("", ParseMoneyError::Malformed),
            ("1e3", ParseMoneyError::Malformed),
            (".5", ParseMoneyError::Malformed),
            ("5.", ParseMoneyError::Malformed),
            ("+1", ParseMoneyError::Malformed),
            ("NaN", ParseMoneyError::Malformed),
            ("0.0000001", ParseMoneyError::TooPrecise),
            ("1000000001", ParseMoneyError::TooLarge),
            ("99999999999999999999", ParseMoneyError::TooLarge),
        ] {
            assert_eq!(text.parse::<Money>(), Err(error), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "money overflow")]
    fn an_overflowing_sum_stops_rather_than_wraps() {
        let _ = Money::from_micros(i64::MAX) + Money::from_micros(1);
    }
}
