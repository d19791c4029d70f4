//! Error budgets over the wire: counted, acted upon, remembered over a restart.

use std::time::Duration;

use crate::support::client::submission;
use crate::support::{ACME, Setup, World, until};

const POLICY: &str = "slo: { default: { min_events: 5, objective: 0.9 }, probe_every: 1s, \
    policy: [ { when: { status: exhausted }, action: pause } ] }";

async fn exhausted() -> World {
    let setup = Setup { rest: POLICY.to_owned(), ..Setup::default() };
    let world = World::start(setup).await;
    for _ in 0..5 {
        let id = world.submit(ACME, "error=ERROR_CAPTCHA_UNSOLVABLE").await;
        world.poll_to_end(ACME, &id).await;
    }
    world
}

async fn metric(world: &World, line: &str) -> bool {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    world.admin(request).await.text().lines().any(|found| found == line)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_error_budget_pauses_the_type_lets_probes_through_and_says_why() {
    let world = exhausted().await;
    let since = world.control().last_logged();

    let probe = world.get(&submission(ACME, "answer=a")).await;
    let refused = world.get(&format!("{}&json=1", submission(ACME, "answer=a"))).await;

    assert!(probe.text().starts_with("OK|"), "one probe is let through: {probe:?}");
    assert_eq!(refused.reason(), "error_budget");
    assert!(refused.text().contains(r#""request":"ERROR_SERVER_ERROR""#), "{refused:?}");
    assert!(refused.text().contains("turnstile solves are paused: success error budget exhausted"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(world.traffic(since).len(), 1, "the provider sees the probe only");
    let active = r#"solvegate_policy_active{captcha_type="turnstile",policy="pause"} 1"#;
    assert!(metric(&world, active).await);
    let other = r#"solvegate_policy_active{captcha_type="image",policy="pause"} 0"#;
    assert!(metric(&world, other).await, "each type has an error budget of its own");
    world.poll_to_end(ACME, probe.text().trim_start_matches("OK|")).await;
    world.settled().await;
    world.close(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_come_at_their_pace_and_a_restart_forgets_no_event() {
    let mut world = exhausted().await;

    world.restart().await;

    let exhausted =
        r#"solvegate_slo_status{captcha_type="turnstile",slo="success",status="exhausted"} 1"#;
    assert!(metric(&world, exhausted).await, "the windows come back from the record");
    let first = world.submit(ACME, "answer=a").await;
    assert_eq!(world.get(&submission(ACME, "answer=b")).await.reason(), "error_budget");
    let probe = async {
        loop {
            let answer = world.get(&submission(ACME, "answer=b")).await;
            if let Some(id) = answer.text().strip_prefix("OK|") {
                return id.to_owned();
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(5), probe).await.unwrap();
    world.poll_to_end(ACME, &first).await;
    world.poll_to_end(ACME, &second).await;
    until("both are charged", || world.tenant("acme").day_solves == 2).await;
    world.close(2).await;
}
