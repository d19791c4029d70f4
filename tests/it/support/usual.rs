//! Traffic that several tests begin with.

use super::client::submission;
use super::{ACME, World, ZEN, until};

pub(crate) const URLENCODED: &str = "application/x-www-form-urlencoded";

/// Letters of a large answer: more than the socket buffers of loopback hold.
pub(crate) const LARGE: usize = 3_900_000;

/// For tenants whose `zen` may have one solve in flight: three delivered answers, a failure, two refusals.
pub(crate) async fn traffic(world: &World) {
    for number in 0..3 {
        let id = world.submit(ACME, &format!("answer=a{number}")).await;
        world.poll_to_end(ACME, &id).await;
    }
    let id = world.submit(ZEN, "error=ERROR_CAPTCHA_UNSOLVABLE").await;
    world.poll_to_end(ZEN, &id).await;
    world.settled().await;
    world.submit(ZEN, "never").await;
    for _ in 0..2 {
        assert_eq!(world.get(&submission(ZEN, "")).await.reason(), "in_flight");
    }
    until("all is on record", || world.solves().len() == 4).await;
}

/// The form of a submission whose answer has that many letters.
pub(crate) fn form(letters: usize) -> String {
    let wish = format!("https://sim.test/?answer={}", "a".repeat(letters));
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("key", ACME),
            ("method", "turnstile"),
            ("sitekey", "s"),
            ("pageurl", &wish),
        ])
        .finish()
}

/// The id of a solve whose answer has [`LARGE`] letters.
pub(crate) async fn submit_large(world: &World) -> String {
    let mut client = world.client().await;
    client.post("/in.php", URLENCODED, form(LARGE).as_bytes()).await.id()
}
