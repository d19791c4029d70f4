//! Now and then the provider has an incident, so that one sees the sidecar ride through.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::world::{incident_errors, usual_errors};
use crate::simulate::{Control, Down, Fault, FaultRule, Operation};

const CALM: Duration = Duration::from_secs(15);
const INCIDENT: Duration = Duration::from_secs(5);
const SLOWNESS: Duration = Duration::from_secs(2);

/// How the provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Its usual few mistakes.
    Fine,
    /// Connections are refused.
    Refusing,
    /// Most solves come out unsolvable.
    Unsolvable,
    /// Every poll takes its time.
    Slow,
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fine => "up",
            Self::Refusing => "incident: refuses connections",
            Self::Unsolvable => "incident: cannot solve most captchas",
            Self::Slow => "incident: answers polls after 2 s",
        })
    }
}

/// Goes through the incidents until `stop`, and leaves the provider as it was.
pub(super) async fn run(
    provider: Control,
    weather: watch::Sender<Weather>,
    stop: CancellationToken,
) {
    for incident in [Weather::Refusing, Weather::Unsolvable, Weather::Slow].into_iter().cycle() {
        if pause(CALM, &stop).await {
            return;
        }
        weather.send_replace(incident);
        match incident {
            Weather::Fine => {}
            Weather::Refusing => provider.down(Down::Refuse).await,
            Weather::Unsolvable => provider.set_errors(incident_errors()),
            Weather::Slow => {
                let rule = FaultRule::new(Operation::Poll, Fault::Delay(SLOWNESS));
                provider.add_faults([rule.after()]);
            }
        }
        let stopped = pause(INCIDENT, &stop).await;
        provider.clear_faults();
        provider.set_errors(usual_errors());
        // Its port may be taken by another program meanwhile; then it stays down and the demo shows that.
        if provider.up().await.is_ok() {
            weather.send_replace(Weather::Fine);
        }
        if stopped {
            return;
        }
    }
}

/// Whether it was stopped meanwhile.
async fn pause(time: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(time, stop.cancelled()).await.is_ok()
}
