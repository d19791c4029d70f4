//! Limits and prices, in the one form that they have everywhere.

use std::collections::BTreeMap;

use super::scalar::{self, integer, money};
use super::section::Section;
use crate::domain::captcha_type::{CaptchaType, CaptchaTypes};
use crate::domain::money::Money;
use crate::domain::policy::{Limits, Prepaid, PriceList, Rate};

/// Just under a billion dollars.
pub(super) const AMOUNT_MAX: Money = Money::from_micros(999_999_999_999_999);
/// A thousand dollars a solve: more is a slip of the pen.
const PRICE_MAX: Money = Money::from_micros(1_000_000_000);

/// The limits of a tenant or of a key.
pub(super) fn limits(section: &mut Section<'_>) -> Limits {
    const RATE_MAX: u32 = 1_000_000;
    let per_minute = section.read("rate_per_minute", integer(1..=RATE_MAX));
    let burst = section.read("burst", integer(1..=RATE_MAX));
    if section.has("burst") && !section.has("rate_per_minute") {
        section.fault_at("burst", "needs rate_per_minute beside it");
    }
    let hint = "a captcha type; leave it out to allow all";
    let allow_types = section.filled_list("allow_types", scalar::captcha_type, hint);
    Limits {
        rate: per_minute.map(|per_minute| Rate { per_minute, burst: burst.unwrap_or(per_minute) }),
        daily_limit: section.read("daily_limit", integer(0..=1_000_000_000_000)),
        in_flight_max: section.read("in_flight_max", integer(0..=100_000)),
        daily_spend_cap: section.read("daily_spend_cap", money(AMOUNT_MAX)),
        monthly_spend_cap: section.read("monthly_spend_cap", money(AMOUNT_MAX)),
        prepaid: section.optional_section("prepaid").map(prepaid),
        allow_types: allow_types.map(CaptchaTypes::from_iter),
    }
}

fn prepaid(mut section: Section<'_>) -> Prepaid {
    let prepaid = Prepaid {
        opening_balance: section.read_or("opening_balance", money(AMOUNT_MAX), Money::ZERO),
        low_balance_below: section.read("low_balance_below", money(AMOUNT_MAX)),
    };
    section.finish();
    prepaid
}

/// Whether anything bounds what may be spent.
pub(super) fn is_bounded(limits: &Limits) -> bool {
    Limits { allow_types: None, ..limits.clone() } != Limits::default()
}

/// One `prices:` as it is written.
#[derive(Debug, Default)]
pub(super) struct Prices {
    pub(super) default: Option<Money>,
    pub(super) own: BTreeMap<CaptchaType, Money>,
}

impl Prices {
    /// The `prices:` of a section.
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let mut prices = Self::default();
        for (label, value) in section.entries("prices") {
            let captcha_type = CaptchaType::from_label(label);
            if captcha_type.is_none() && label != "default" {
                value.fault(format!("is no captcha type{}", scalar::closest_type(label)));
                continue;
            }
            let Some(price) = value.read(money(PRICE_MAX)) else { continue };
            if price == Money::ZERO {
                value.warn("is zero: these solves cost nothing, and no money limit stops them");
            }
            match captcha_type {
                Some(captcha_type) => {
                    prices.own.insert(captcha_type, price);
                }
                None => prices.default = Some(price),
            }
        }
        prices
    }

    /// A tenant's own type, family, default; else what holds for everybody.
    pub(super) fn over(&self, base: &PriceList) -> PriceList {
        let resolved = CaptchaType::ALL.map(|captcha_type| {
            let own = self.own.get(&captcha_type).or_else(|| self.own.get(&captcha_type.family()));
            let price = own.copied().or(self.default);
            (captcha_type, price.unwrap_or_else(|| base.price(captcha_type)))
        });
        PriceList::resolve(Money::ZERO, &resolved.into_iter().collect())
    }
}
