//! An open-loop load: requests leave on a schedule, whatever became of those before them, and each is timed
//! from the moment at which it was due. So a proxy that stalls is charged for every request it kept waiting.
//!
//! `load ADDRESS RATE REQUESTS CONNECTIONS EXPECTED TARGETS`: EXPECTED is how every answer's body begins,
//! TARGETS a file with a request target a line, taken in turn. Each connection makes one request more before
//! the first is due. Prints one line of JSON; a wrong answer ends it. `benches/compare/run` builds it with
//! rustc alone: it uses nothing but the standard library.

#![expect(clippy::disallowed_methods, reason = "a load reads the clock")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its result is a line")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a load that fails ends")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const ANSWER_WAIT: Duration = Duration::from_secs(10);

struct Plan {
    address: String,
    rate: f64,
    requests: usize,
    connections: usize,
    expected: String,
    targets: Vec<String>,
}

/// The schedule begins for all connections at once, when the last of them is ready.
struct Start {
    ready: Barrier,
    begin: OnceLock<Instant>,
}

fn main() {
    std::panic::set_hook(Box::new(|fault| {
        eprintln!("{fault}");
        std::process::exit(1);
    }));
    let plan = plan();
    // Timers are to fire when they are due: threads inherit this from the one that starts them.
    std::fs::write("/proc/self/timerslack_ns", "1").expect("the timer slack can be set");
    let start = Start { ready: Barrier::new(plan.connections), begin: OnceLock::new() };
    let mut taken: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections)
            .map(|place| {
                let (plan, start) = (&plan, &start);
                scope.spawn(move || one_connection(plan, place, start))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    taken.sort_unstable();
    let micros = |share: usize| taken[(taken.len() - 1) * share / 1000].as_secs_f64() * 1e6;
    println!(
        r#"{{"requests": {}, "p50": {:.1}, "p99": {:.1}, "p999": {:.1}, "max": {:.1}}}"#,
        taken.len(),
        micros(500),
        micros(990),
        micros(999),
        micros(1000),
    );
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, rate, requests, connections, expected, targets] = arguments.as_slice() else {
        panic!("load ADDRESS RATE REQUESTS CONNECTIONS EXPECTED TARGETS");
    };
    let targets = std::fs::read_to_string(targets).unwrap();
    Plan {
        address: address.clone(),
        rate: rate.parse().unwrap(),
        requests: requests.parse().unwrap(),
        connections: connections.parse().unwrap(),
        expected: expected.clone(),
        targets: targets.lines().map(str::to_owned).collect(),
    }
}

/// Makes every n-th request of the schedule, n being the number of connections.
fn one_connection(plan: &Plan, place: usize, start: &Start) -> Vec<Duration> {
    let mut stream = TcpStream::connect(&plan.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(ANSWER_WAIT)).unwrap();
    ask(&mut stream, plan, place);
    start.ready.wait();
    let begin = *start.begin.get_or_init(|| Instant::now() + Duration::from_millis(20));
    let mut taken = Vec::with_capacity(plan.requests / plan.connections + 1);
    for number in (place..plan.requests).step_by(plan.connections) {
        #[expect(clippy::cast_precision_loss, reason = "a load is far shorter")]
        let due = begin + Duration::from_secs_f64(number as f64 / plan.rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        ask(&mut stream, plan, number);
        taken.push(due.elapsed());
    }
    taken
}

/// One request and its whole answer, which must be the expected one.
fn ask(stream: &mut TcpStream, plan: &Plan, number: usize) {
    let target = &plan.targets[number % plan.targets.len()];
    let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::with_capacity(1024);
    let mut part = [0; 4096];
    loop {
        if let Some(body) = whole_body(&answer) {
            assert!(body.starts_with(&plan.expected), "answered {body:?}");
            return;
        }
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..length]);
    }
}

/// The body of an answer, once all of it is there.
fn whole_body(answer: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    assert!(status.starts_with("HTTP/1.1 200 "), "answered {text:?}");
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().unwrap())
        .expect("an answer has its length");
    (body.len() >= length).then_some(body)
}
