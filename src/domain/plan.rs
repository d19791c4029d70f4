//! What a thread plan truly cost each tenant: its price shared out by the thread time that each held.

use super::money::Money;

/// A plan's cost, shared out. The shares and `idle` add up to the cost, to the micro-dollar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// One for each thread time, in the same order; rounded down.
    pub shares: Vec<Money>,
    /// What nobody used, and what rounding left over.
    pub idle: Money,
}

/// Shares `cost` out over `used_ms` of `capacity_ms` thread time. Where more was used than the capacity
/// (the plan was changed on the way), nothing is idle and the use counts as the capacity.
pub fn allocate(cost: Money, capacity_ms: u64, used_ms: &[u64]) -> Allocation {
    let used: u128 = used_ms.iter().map(|ms| u128::from(*ms)).sum();
    let whole = u128::from(capacity_ms).max(used);
    let micros = u128::try_from(cost.micros()).unwrap_or(0);
    let share = |ms: u64| {
        let micros = (micros * u128::from(ms)).checked_div(whole).unwrap_or(0);
        Money::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    };
    let shares: Vec<_> = used_ms.iter().map(|ms| share(*ms)).collect();
    let idle = cost - shares.iter().copied().sum();
    Allocation { shares, idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Money = Money::from_micros(30_000_000);

    fn micros(allocation: &Allocation) -> (Vec<i64>, i64) {
        let shares = allocation.shares.iter().map(|share| share.micros()).collect();
        (shares, allocation.idle.micros())
    }

    #[test]
    fn the_cost_follows_the_thread_time_and_the_rest_is_idle() {
        let allocation = allocate(COST, 1_000, &[100, 400]);

        assert_eq!(micros(&allocation), (vec![3_000_000, 12_000_000], 15_000_000));
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        let allocation = allocate(COST, 7, &[1, 1, 1]);

        assert_eq!(micros(&allocation), (vec![4_285_714; 3], 30_000_000 - 3 * 4_285_714));
    }

    #[test]
    fn more_use_than_capacity_leaves_nothing_idle_but_the_rounding() {
        let allocation = allocate(COST, 100, &[100, 300]);

        assert_eq!(micros(&allocation), (vec![7_500_000, 22_500_000], 0));
    }

    #[test]
    fn an_unused_plan_is_all_idle() {
        assert_eq!(micros(&allocate(COST, 1_000, &[])), (vec![], 30_000_000));
        assert_eq!(micros(&allocate(COST, 0, &[0])), (vec![0], 30_000_000));
    }
}
