//! The decision core under random traffic, reloads, clock jumps and crashes, against an independent
//! reading of its journal. `PROPTEST_CASES` sets the number of runs.
//!
//! `record` interprets the journal, `policy` makes configurations, `world` plays clients and provider,
//! `outside` the disk, the clock and the operator, `admission` knows what may be admitted, `check` holds the invariants.

mod admission;
mod check;
mod outside;
mod policy;
mod record;
mod restored;
mod world;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, FileFailurePersistence};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use solvegate::domain::solve::Form;

use policy::{KEYS, TENANTS, TYPES, Variant, variants};
use world::World;

prop_state_machine! {
    #![proptest_config(Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..Config::default()
    })]

    #[test]
    fn the_ten_invariants_hold_at_every_step(sequential 1..=400 => Model);
}

/// One thing that happens. A number picks among what there is at the time.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Submit {
        key: usize,
        captcha_type: usize,
        pingback: bool,
    },
    /// The provider's id arrives: a new one, or one that it gave out before.
    Bind {
        which: usize,
        durable: bool,
        again: bool,
    },
    SubmitFails {
        which: usize,
    },
    AnsweredWithoutProvider {
        which: usize,
    },
    Poll {
        task: usize,
        key: usize,
        form: Form,
    },
    Answers {
        which: usize,
        says: Says,
    },
    PollDropped {
        which: usize,
    },
    HandedOver {
        which: usize,
        arrived: bool,
    },
    Watch,
    Credit {
        tenant: usize,
        key: bool,
        amount: i64,
        cause: usize,
    },
    Reload(Box<Variant>),
    Account {
        main: bool,
        says: AccountSays,
    },
    Upstream {
        reachable: bool,
    },
    Commit,
    Advance {
        secs: u64,
    },
    ToMidnight {
        month_end: bool,
    },
    Jump {
        secs: i64,
    },
    Crash {
        kept: usize,
        arrived: bool,
    },
}

/// What the provider says to a poll, as far as it has not made up its mind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Says {
    Pending,
    Solved,
    Failed,
    ProxyTrouble,
    Trouble,
    /// It knows no such task any more.
    Forgot,
}

/// What the provider says of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AccountSays {
    Threads(u32, u32),
    Balance(i64),
    KeyRefused,
}

fn steps() -> impl Strategy<Value = Step> {
    let which = 0_usize..64;
    let says = prop_oneof![
        2 => Just(Says::Pending),
        6 => Just(Says::Solved),
        2 => Just(Says::Failed),
        1 => Just(Says::ProxyTrouble),
        1 => Just(Says::Trouble),
        1 => Just(Says::Forgot),
    ];
    let form = select(vec![Form::Text, Form::Text, Form::Json]);
    let account_says = prop_oneof![
        (0_u32..12, 0_u32..6).prop_map(|(total, working)| AccountSays::Threads(total, working)),
        (-1_i64..20).prop_map(AccountSays::Balance),
        Just(AccountSays::KeyRefused),
    ];
    let traffic = prop_oneof![
        14 => (0..KEYS.len(), 0..TYPES.len(), prop::bool::weighted(0.1))
            .prop_map(|(key, captcha_type, pingback)| Step::Submit { key, captcha_type, pingback }),
        14 => (which.clone(), prop::bool::weighted(0.9), prop::bool::weighted(0.05))
            .prop_map(|(which, durable, again)| Step::Bind { which, durable, again }),
        1 => which.clone().prop_map(|which| Step::SubmitFails { which }),
        1 => which.clone().prop_map(|which| Step::AnsweredWithoutProvider { which }),
        26 => (which.clone(), 0..KEYS.len() * 3, form)
            .prop_map(|(task, key, form)| Step::Poll { task, key, form }),
        16 => (which.clone(), says).prop_map(|(which, says)| Step::Answers { which, says }),
        1 => which.clone().prop_map(|which| Step::PollDropped { which }),
        8 => (which, prop::bool::weighted(0.7))
            .prop_map(|(which, arrived)| Step::HandedOver { which, arrived }),
    ];
    let around = prop_oneof![
        5 => Just(Step::Watch),
        2 => (0..TENANTS.len(), any::<bool>(), -4_000_i64..9_000, 0_usize..12)
            .prop_map(|(tenant, key, amount, cause)| Step::Credit { tenant, key, amount, cause }),
        1 => variants().prop_map(|variant| Step::Reload(Box::new(variant))),
        1 => (any::<bool>(), account_says)
            .prop_map(|(main, says)| Step::Account { main, says }),
        1 => any::<bool>().prop_map(|reachable| Step::Upstream { reachable }),
        2 => Just(Step::Commit),
        10 => select(vec![1, 1, 1, 1, 2, 2, 2, 5, 5, 10, 10, 31, 61, 181, 601, 3_601])
            .prop_map(|secs| Step::Advance { secs }),
        1 => any::<bool>().prop_map(|month_end| Step::ToMidnight { month_end }),
        1 => select(vec![-600, -172_800, 172_800]).prop_map(|secs| Step::Jump { secs }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(kept, arrived)| Step::Crash { kept, arrived }),
    ];
    prop_oneof![4 => traffic, 1 => around]
}

/// The steps do not depend on the state: each picks among what it finds.
#[derive(Debug)]
struct Steps;

impl ReferenceStateMachine for Steps {
    type State = Variant;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Variant> {
        variants().boxed()
    }

    fn transitions(_: &Variant) -> BoxedStrategy<Step> {
        steps().boxed()
    }

    fn apply(state: Variant, _: &Step) -> Variant {
        state
    }
}

#[derive(Debug)]
struct Model;

impl StateMachineTest for Model {
    type SystemUnderTest = World;
    type Reference = Steps;

    fn init_test(variant: &Variant) -> World {
        World::new(variant)
    }

    fn apply(mut world: World, _: &Variant, step: Step) -> World {
        world.apply(step);
        world.check();
        world
    }

    fn teardown(mut world: World, _: Variant) {
        world.wind_down();
        world.check_end();
    }
}
