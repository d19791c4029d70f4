//! `/metrics` over the wire: what it calls itself, and that requests do not wait for it.

use std::fmt::Write as _;

use solvegate::record::metrics::CONTENT_TYPE;

use crate::support::client::get;
use crate::support::{Client, Setup, World};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_accepted_the_type_is_the_text_format() {
    let world = World::start(Setup::default()).await;
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for accept in [prometheus_3, "application/vnd.google.protobuf", "text/html", "", "*/*"] {
        let request = get("/metrics").replacen("Host: ", &format!("Accept: {accept}\r\nHost: "), 1);

        let answer = world.admin(&request).await;

        assert_eq!(answer.status, 200, "{accept}");
        assert_eq!(answer.header("content-type"), Some(CONTENT_TYPE), "{accept}");
        assert_eq!(answer.header("content-encoding"), None, "{accept}");
        assert!(answer.text().contains("\nsolvegate_build_info{"), "{accept}");
    }
    assert_eq!(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    world.close(0).await;
}

/// With one thread for all requests, as where there is one core.
#[tokio::test]
async fn requests_are_answered_while_a_scrape_is_rendered() {
    let mut tenants = String::new();
    for number in 0..2_000 {
        write!(tenants, "t{number}: {{ keys: {{ a: {{ sha256: '{number:064x}' }} }} }}, ").unwrap();
    }
    let world = World::start(Setup { tenants: tenants.leak(), ..Setup::default() }).await;
    let mut scraper = Client::connect(world.app().admin).await;
    let mut client = world.client().await;
    client.get("/").await;

    scraper.send(get("/metrics").as_bytes()).await;
    let mut answered = 0;
    loop {
        tokio::select! {
            biased;
            ready = scraper.stream.readable() => break ready.unwrap(),
            answer = client.get("/") => {
                assert_eq!(answer.status, 404);
                answered += 1;
            }
        }
    }

    assert!(answered >= 20, "only {answered} requests were answered meanwhile");
    assert!(scraper.answer().await.body.len() > 1_000_000);
    world.close(0).await;
}
